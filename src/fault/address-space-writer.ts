import { SyscallError } from '../ffi/errors.js';
import { errno, madvise, mmap, mprotect, munmap } from '../ffi/libc.js';
import { Mapping } from '../ffi/mapping.js';
import {
  MADV_DONTNEED,
  MADV_NOHUGEPAGE,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_POPULATE,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../uapi/mman.js';
import type { ChoreEnd } from './chores.js';
import type { Pace } from './pace.js';
import type { WorkerControl } from './worker-control.js';

/**
 * What a writer does, again and again:
 *
 * - `mixed`: maps a little, protects it, drops its pages, unmaps it
 * - `mprotect`: changes the protection of memory that is there, and holds mmap_lock for long
 */
export const WRITER_CALLS = ['mixed', 'mprotect'] as const;
export type WriterCalls = (typeof WRITER_CALLS)[number];

/** Mapped and unmapped at a time: what an allocator takes and gives back. */
const RANGE_BYTES = 65536;

/**
 * Changes the address space elsewhere, as a VMM's other threads do, for as long as the guest runs:
 * mmap (populated), mprotect, MADV_DONTNEED and munmap of the same 64 KiB in turn. Three of them take
 * mmap_lock for write, mmap once more for read; MADV_DONTNEED takes it for read, and from Linux 6.16
 * on (mem) not at all.
 */
export function changeAddressSpace(control: WorkerControl, pace: Pace): ChoreEnd {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
  const { made, end } = account(pace);
  while (!control.stopping) {
    const address = mmap(0, RANGE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    made('mmap', address);
    made('mprotect', mprotect(address, RANGE_BYTES, PROT_READ));
    made('madvise(MADV_DONTNEED)', madvise(address, RANGE_BYTES, MADV_DONTNEED));
    made('munmap', munmap(address, RANGE_BYTES));
  }
  return end();
}

/** Whose page table entries mprotect visits, with mmap_lock held for write. */
const PROTECTED_BYTES = 64 * 2 ** 20;

/** The same with mprotect alone, of 64 MiB at a time: each takes mmap_lock for write, and keeps it. */
export function protectAndUnprotect(control: WorkerControl, pace: Pace): ChoreEnd {
  using memory = Mapping.create(
    PROTECTED_BYTES,
    PROT_READ | PROT_WRITE,
    MAP_PRIVATE | MAP_ANONYMOUS,
    -1,
  );
  // Pages of 4 KiB, for there to be entries.
  madvise(memory.address, PROTECTED_BYTES, MADV_NOHUGEPAGE);
  if (madvise(memory.address, PROTECTED_BYTES, MADV_POPULATE_WRITE) !== 0) {
    throw new SyscallError('madvise(MADV_POPULATE_WRITE) of a writer', errno());
  }
  const { made, end } = account(pace);
  while (!control.stopping) {
    made('mprotect', mprotect(memory.address, PROTECTED_BYTES, PROT_READ));
    made('mprotect', mprotect(memory.address, PROTECTED_BYTES, PROT_READ | PROT_WRITE));
  }
  return end();
}

/** Counts calls, keeps to the pace, and throws for one that failed. */
function account(pace: Pace): {
  readonly made: (name: string, result: number) => void;
  readonly end: () => ChoreEnd;
} {
  let calls = 0;
  return {
    made: (name, result) => {
      if (result === -1) {
        throw new SyscallError(`${name} of a writer`, errno());
      }
      calls++;
      pace.spend(1);
    },
    end: () => ({ reason: 'stopped', count: calls, calls, failures: {} }),
  };
}
