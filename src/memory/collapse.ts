import { SyscallError } from '../ffi/errors.js';
import { errno, madvise } from '../ffi/libc.js';
import { MADV_COLLAPSE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_POPULATE_READ } from '../uapi/mman.js';
import { MemoryChanges } from './changes.js';
import type { GuestMemoryLayout } from './guest-memory.js';
import { MAPPED, PageStates } from './page-states.js';
import { isPartlyResident, registerUnits } from './resident-units.js';
import { HUGE_PAGE_BYTES } from './sizes.js';
import type { Trap } from './trap.js';
import { SharedUffdCalls } from './uffd-shares.js';

// The words of GuestMemoryLayout.collapsed
const NEVER_COLLAPSED = 0;
/** Mapped by a huge page. */
export const COLLAPSED = 1;
/** Not any more; the file may still have large pages there. */
const ONCE_COLLAPSED = 2;

/** How the collapse of a block ended. */
export type Collapsed =
  | { readonly outcome: 'collapsed' }
  /** Not every page of it is mapped. */
  | { readonly outcome: 'incomplete' }
  /** The kernel could not: no huge page to be had, pages in use, … The block is as it was. */
  | { readonly outcome: 'failed'; readonly errno: number }
  /** The machine was stopping. */
  | { readonly outcome: 'stopped' };

/** The blocks of 2 MiB, to be looked at again and again. */
export class Blocks {
  private readonly states: PageStates;
  private readonly collapsed: Int32Array;

  constructor(private readonly memory: GuestMemoryLayout) {
    this.states = new PageStates(memory.states);
    this.collapsed = new Int32Array(memory.collapsed);
  }

  /** Whether a block is complete and not collapsed: a look without a lock, and without a promise. */
  mayCollapse(block: number): boolean {
    return this.collapsed[block] !== COLLAPSED && this.isComplete(block);
  }

  isComplete(block: number): boolean {
    const { unitBytes, bytes } = this.memory;
    const start = block * HUGE_PAGE_BYTES;
    const end = start + HUGE_PAGE_BYTES;
    if (end > bytes) {
      return false; // memory ends within it
    }
    if (isPartlyResident(this.memory, start, HUGE_PAGE_BYTES)) {
      return false; // a part of it is not registered, and a huge page cannot lie in two areas
    }
    for (let unit = start / unitBytes; unit * unitBytes < end; unit++) {
      if (this.states.stateOf(unit) !== MAPPED) {
        return false;
      }
    }
    return true;
  }
}

/**
 * Makes one huge page of a complete block of 2 MiB, and maps it as one, while the guest runs
 * (MADV_COLLAPSE, Linux 6.1).
 *
 * Guest memory is kept from that otherwise, for its page tables hold trap markers: it is registered
 * for write-protection and MADV_NOHUGEPAGE (see trap.ts). A complete block has nothing missing, so
 * for the moment it is not registered at all: what the kernel unmaps on the way, the kernel itself
 * maps again when it is touched. (Registered, such a touch would be a fault without an address, and
 * KVM's own walk of guest page tables in the block a triple fault: kvm_pvm, 6.18.) The huge page
 * stays mapped when the block is registered again, and the mapping becomes one again with the rest,
 * which a UFFDIO_CONTINUE or UFFDIO_POISON across blocks needs (6.18).
 *
 * @param block number of the block, GPA / 2 MiB
 */
export function collapseBlock(
  memory: GuestMemoryLayout,
  trap: Trap | null,
  block: number,
  stopping: () => boolean,
): Collapsed {
  const changes = new MemoryChanges(memory.changes);
  if (!changes.begin(stopping)) {
    return { outcome: 'stopped' };
  }
  try {
    // Only a discard takes pages away, and it waits for the end of this change.
    if (!new Blocks(memory).isComplete(block)) {
      return { outcome: 'incomplete' };
    }
    const collapsed = new Int32Array(memory.collapsed);
    if (collapsed[block] !== COLLAPSED) {
      const error = replacePageTable(memory, trap, block);
      if (error !== 0) {
        return { outcome: 'failed', errno: error };
      }
      collapsed[block] = COLLAPSED;
    }
    return { outcome: 'collapsed' };
  } finally {
    changes.end();
  }
}

/** Collapses a complete block. Returns an errno, or 0. */
function replacePageTable(memory: GuestMemoryLayout, trap: Trap | null, block: number): number {
  const start = block * HUGE_PAGE_BYTES;
  const address = memory.guestAddress + start;
  const bytes = HUGE_PAGE_BYTES;
  // Both may split a mapping, of which there can be 65530 (vm.max_map_count): ENOMEM.
  if (madvise(address, bytes, MADV_HUGEPAGE) < 0) {
    return errno();
  }
  if (trap === null) {
    return madvise(address, bytes, MADV_COLLAPSE) < 0 ? errno() : 0;
  }
  const uffd = new SharedUffdCalls(memory, trap.uffds);
  try {
    uffd.unregister(address, bytes);
  } catch (error) {
    if (!(error instanceof SyscallError)) {
      throw error;
    }
    madvise(address, bytes, MADV_NOHUGEPAGE);
    return error.errno;
  }
  const error = madvise(address, bytes, MADV_COLLAPSE) < 0 ? errno() : 0;
  // It may have unmapped pages before it gave up, or (6.18), where unregistering has split a huge page
  // that was mapped already, succeed without mapping it again. What is absent when the block is
  // registered would be a fault.
  madvise(address, bytes, MADV_POPULATE_READ);
  registerUnits(memory, uffd, start, bytes, trap.modes);
  madvise(address, bytes, MADV_NOHUGEPAGE);
  return error;
}

/**
 * Notes that pages are about to be taken out of a range. The caller has begun a change of memory.
 *
 * @returns whether the file may have large pages there, of which a part cannot be punched without
 * unmapping the rest
 */
export function splitBlocks(memory: GuestMemoryLayout, start: number, bytes: number): boolean {
  const collapsed = new Int32Array(memory.collapsed);
  const last = Math.floor((start + bytes - 1) / HUGE_PAGE_BYTES);
  let any = memory.backing.hugeFile;
  for (let block = Math.floor(start / HUGE_PAGE_BYTES); block <= last; block++) {
    if (collapsed[block] !== NEVER_COLLAPSED) {
      collapsed[block] = ONCE_COLLAPSED;
      any = true;
    }
  }
  return any;
}
