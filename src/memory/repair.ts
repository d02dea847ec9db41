import { constants } from 'node:os';
import { SyscallError } from '../ffi/errors.js';
import { UffdCalls } from '../uffd/userfaultfd.js';
import { eachAbsentRange } from './absent-pages.js';
import { MemoryChanges } from './changes.js';
import type { GuestMemoryLayout } from './guest-memory.js';
import { AWAITED, CLAIMED, MAPPED, MISSING, PageStates } from './page-states.js';
import { isResident } from './resident-units.js';
import type { Trap } from './trap.js';

/** In place of a state: left to the kernel. */
const RESIDENT = -2;

/**
 * Puts back what the kernel has taken out of the guest mapping by itself: it may drop the page table
 * entries of shmem at any time, for every page is still in the page cache (reclaim, a collapse
 * through another mapping of the file). Mapped units are continued again, write-protected where they
 * were, missing ones marked again. Units that are claimed are left to whoever brings them in.
 *
 * The caller has begun a change of memory ({@link MemoryChanges}).
 *
 * What cannot be put back, for its file was cut short by another process, is left out: whoever
 * touches it finds no explanation for the fault.
 *
 * @param start a guest physical address, at the start of a unit
 * @returns bytes put back, and bytes left to others
 */
export function restoreEntries(
  memory: GuestMemoryLayout,
  trap: Trap,
  start: number,
  bytes: number,
): { readonly restored: number; readonly claimed: number } {
  const { guestAddress, unitBytes, backing } = memory;
  const states = new PageStates(memory.states);
  const uffd = new UffdCalls(trap.uffd);
  let restored = 0;
  let claimed = 0;
  /** Of the run of units from `first` to `end`, what lies within the absent range. */
  const restore = (state: number, from: number, length: number, isProtected: boolean): void => {
    if (state === MAPPED && backing.fill === 'continue') {
      restored += unlessLost(() =>
        uffd.continueRange(from, length, backing.pageBytes, isProtected),
      );
    } else if (state === MISSING && trap.marked) {
      restored += unlessLost(() => uffd.poisonRange(from, length, backing.pageBytes));
    } else if (state === CLAIMED || state === AWAITED) {
      claimed += length;
    }
  };
  eachAbsentRange(guestAddress + start, bytes, (address, length, isProtected) => {
    const end = address + length;
    let runStart = address;
    let runState = -1;
    for (let at = address; at < end; ) {
      const unit = Math.floor((at - guestAddress) / unitBytes);
      const state = isResident(memory, unit) ? RESIDENT : states.stateOf(unit);
      if (state !== runState) {
        restore(runState, runStart, at - runStart, isProtected);
        runStart = at;
        runState = state;
      }
      at = Math.min(end, guestAddress + (unit + 1) * unitBytes);
    }
    restore(runState, runStart, end - runStart, isProtected);
  });
  return { restored, claimed };
}

/** 0 where the file has no page there any more, or has lost that part. */
function unlessLost(restore: () => number): number {
  try {
    return restore();
  } catch (error) {
    const { EFAULT, EINVAL } = constants.errno;
    if (error instanceof SyscallError && [EFAULT, EINVAL].includes(error.errno)) {
      return 0;
    }
    throw error;
  }
}

/** What became of a fault without an address. */
export type Explanation =
  /** Memory was being changed: by a discard, a collapse, another thread. Look again. */
  | 'disturbed'
  /** Entries were missing, and have been put back. */
  | 'restored'
  /** Every entry is there, or is again: the kernel did it alone, or something is wrong. */
  | 'unexplained';

/**
 * Explains a fault for which the kernel gave no address: a page without a marker was touched.
 *
 * @param sequence of {@link MemoryChanges}, read before the guest was entered
 */
export function explainAbsence(
  memory: GuestMemoryLayout,
  trap: Trap,
  sequence: number,
  stopping: () => boolean,
): Explanation {
  const changes = new MemoryChanges(memory.changes);
  if (changes.disturbed(sequence)) {
    changes.wait();
    return 'disturbed';
  }
  if (!changes.begin(stopping)) {
    return 'disturbed';
  }
  try {
    const { restored, claimed } = restoreEntries(memory, trap, 0, memory.bytes);
    return restored > 0 ? 'restored' : claimed > 0 ? 'disturbed' : 'unexplained';
  } finally {
    changes.end();
  }
}
