import { constants } from 'node:os';
import { GuestError, SyscallError, UnsupportedError, UsageError } from '../ffi/errors.js';
import { errno, fallocate, madvise } from '../ffi/libc.js';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_REMOVE,
} from '../uapi/mman.js';
import type { DiscardStep } from './backing.js';
import { MemoryChanges } from './changes.js';
import { splitBlocks } from './collapse.js';
import { openAccess } from './guest-access.js';
import type { GuestMemoryLayout } from './guest-memory.js';
import { MAPPED, MISSING, PageStates, POISONED, stateOfWord } from './page-states.js';
import { restoreEntries } from './repair.js';
import { formatSize, HUGE_PAGE_BYTES } from './sizes.js';
import type { Trap } from './trap.js';
import { SharedUffdCalls } from './uffd-shares.js';

export interface DiscardOptions {
  /**
   * What to do with a unit that the range covers in part only: `refuse` (the default), or `zero`: the
   * part reads as zeroes from then on, as after a punch, and the rest is as it was. A missing unit is
   * brought in for that.
   */
  readonly partial?: 'refuse' | 'zero';
}

/** What a discard did. */
export interface Discarded {
  /** Units whose next access faults, and that were mapped before. */
  readonly units: number;
  /** Bytes of partial units that were overwritten by zeroes. */
  readonly zeroedBytes: number;
}

/** Units taken at a time: vCPUs wait for them that long. */
const BATCH_BYTES = 8 * HUGE_PAGE_BYTES;

export interface DiscardContext {
  readonly memory: GuestMemoryLayout;
  /** Null where nothing is trapped: then there is nothing to discard with. */
  readonly trap: Trap | null;
  /** Asked while it waits for others; true gives up. */
  readonly stopping: () => boolean;
  /** Brings a missing unit in; false if its contents cannot be had. */
  readonly bringIn: (unit: number) => boolean;
}

export type Discard = (start: number, bytes: number, options?: DiscardOptions) => Discarded;

/** A discard for the calling thread. */
export function createDiscard({ memory, trap, stopping, bringIn }: DiscardContext): Discard {
  const { unitBytes } = memory;
  const states = new PageStates(memory.states);
  const changes = new MemoryChanges(memory.changes);
  const access = openAccess(memory);
  const zeroes = new Uint8Array(unitBytes);

  /**
   * Throws pages away: once it has returned, the next guest access to the range faults, and its
   * source supplies the contents anew, whatever the backing and whatever else goes on meanwhile.
   * The memory is given back to the system.
   *
   * Every unit is claimed first, so that nobody brings it in, looks at it or maps it in between. A
   * vCPU that touches the range then finds a marker, or faults without an address and waits for the
   * end of the change; at no time does it find a page of zeroes.
   *
   * @param start a guest physical address
   * @throws UsageError when the range is not inside guest memory, or covers units in part
   * @throws UnsupportedError when nothing is trapped
   */
  return (start, bytes, { partial = 'refuse' } = {}) => {
    checkRange(memory, start, bytes);
    if (trap === null) {
      throw new UnsupportedError(
        'memory that is not trapped cannot be discarded: nobody would supply its contents again',
        'Use --delivery handler or exit.',
      );
    }
    if (bytes === 0) {
      return { units: 0, zeroedBytes: 0 };
    }
    const end = start + bytes;
    const first = Math.ceil(start / unitBytes);
    const last = Math.floor(end / unitBytes);
    if (partial === 'refuse' && (start % unitBytes !== 0 || end % unitBytes !== 0)) {
      throw new UsageError(
        `a discard of 0x${start.toString(16)} to 0x${end.toString(16)} covers fault units of ${formatSize(unitBytes)} in part`,
        `Align it to the unit (${memory.backing.name} has pages of ${formatSize(memory.backing.pageBytes)}), or ask for partial: 'zero'.`,
      );
    }
    if (memory.image.some((range) => range.first < last && first < range.end)) {
      throw new UsageError(
        `a discard of 0x${start.toString(16)} to 0x${end.toString(16)} covers the image or its tables, to which the guest has written`,
      );
    }
    let zeroedBytes = 0;
    if (start < first * unitBytes) {
      zeroedBytes += zeroPart(trap, start, Math.min(end, first * unitBytes));
    }
    if (end > last * unitBytes && last >= first) {
      zeroedBytes += zeroPart(trap, last * unitBytes, end);
    }
    let units = 0;
    const batch = Math.max(1, BATCH_BYTES / unitBytes);
    for (let unit = first; unit < last; unit += batch) {
      units += discardUnits(trap, unit, Math.min(last, unit + batch));
    }
    return { units, zeroedBytes };
  };

  /** Discards whole units. Returns how many of them were mapped. */
  function discardUnits(trap: Trap, first: number, end: number): number {
    if (!changes.begin(stopping)) {
      return 0;
    }
    const before: number[] = [];
    let discarded = false;
    try {
      for (let unit = first; unit < end; unit++) {
        const word = states.seize(unit, stopping);
        if (word === null) {
          return 0; // gives back what it has
        }
        before.push(word);
      }
      const start = first * unitBytes;
      const bytes = (end - first) * unitBytes;
      const hasLargePages = splitBlocks(memory, start, bytes);
      for (const step of memory.backing.discard) {
        take(memory, step, start, bytes);
      }
      if (trap.marked) {
        const { guestAddress, backing } = memory;
        new SharedUffdCalls(memory, trap.uffds).poisonRange(
          guestAddress + start,
          bytes,
          backing.pageBytes,
        );
      }
      before.forEach((word, index) => {
        if (stateOfWord(word) === POISONED && !trap.marked) {
          unmark(memory, first + index);
        }
      });
      discarded = true;
      if (hasLargePages) {
        // A huge page of which a part was punched is unmapped as a whole: map the rest of it again.
        const blocks = blockRange(memory, start, bytes);
        restoreEntries(memory, trap, blocks.start, blocks.bytes);
      }
      return before.filter((word) => word === MAPPED).length;
    } finally {
      before.forEach((word, index) => {
        states.publish(first + index, discarded ? MISSING : word);
      });
      changes.end();
      wake(memory, trap, first, end);
    }
  }

  /** Overwrites a part of one unit, bringing it in first. Returns bytes overwritten. */
  function zeroPart(trap: Trap, from: number, to: number): number {
    const unit = Math.floor(from / unitBytes);
    for (;;) {
      if (!changes.begin(stopping)) {
        return 0;
      }
      let before: number | null;
      try {
        // Where the write goes through the guest mapping, an entry that the kernel has dropped would
        // be EFAULT, or a fault that waits for this claim.
        restoreEntries(memory, trap, unit * unitBytes, unitBytes);
        before = states.seize(unit, stopping);
        if (before !== null) {
          try {
            if (before === MAPPED) {
              access.write(from, zeroes.subarray(0, to - from));
            }
          } finally {
            states.publish(unit, before);
          }
        }
      } finally {
        changes.end();
        wake(memory, trap, unit, unit + 1);
      }
      if (before === null) {
        return 0;
      }
      if (before === MAPPED) {
        return to - from;
      }
      if (before !== MISSING || !bringIn(unit)) {
        throw new GuestError(
          `a part of the fault unit at GPA 0x${(unit * unitBytes).toString(16)} cannot be zeroed: the rest of its contents cannot be had`,
        );
      }
    }
  }
}

function checkRange(memory: GuestMemoryLayout, start: number, bytes: number): void {
  const fits =
    Number.isSafeInteger(start) &&
    Number.isSafeInteger(bytes) &&
    start >= 0 &&
    bytes >= 0 &&
    start + bytes <= memory.bytes;
  if (!fits) {
    throw new UsageError(
      `a discard of ${bytes} bytes at ${start} lies outside guest memory of ${memory.bytes} bytes`,
    );
  }
}

/** Messages that came in meanwhile were taken for the claimant's to answer. */
function wake(memory: GuestMemoryLayout, trap: Trap, first: number, end: number): void {
  if (!trap.marked) {
    const { guestAddress, unitBytes } = memory;
    const bytes = (end - first) * unitBytes;
    new SharedUffdCalls(memory, trap.uffds).wake(guestAddress + first * unitBytes, bytes);
  }
}

/** A punch leaves the markers of pages that are not mapped; a new page must not fail as the old one. */
function unmark({ guestAddress, unitBytes }: GuestMemoryLayout, unit: number): void {
  const address = guestAddress + unit * unitBytes;
  check('madvise(MADV_DONTNEED)', madvise(address, unitBytes, MADV_DONTNEED));
}

/** The blocks of 2 MiB that a range touches. */
function blockRange(
  memory: GuestMemoryLayout,
  start: number,
  bytes: number,
): { start: number; bytes: number } {
  const from = Math.floor(start / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
  const to = Math.ceil((start + bytes) / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
  return { start: from, bytes: Math.min(memory.bytes, to) - from };
}

const NEEDS_5_18 = constants.errno.EINVAL;

function take(memory: GuestMemoryLayout, step: DiscardStep, start: number, bytes: number): void {
  switch (step) {
    case 'punch-hole': {
      const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      check('fallocate(PUNCH_HOLE)', fallocate(memory.fd, mode, start, bytes));
      return;
    }
    case 'remove-alias':
      // Of the alias mapping, which is neither registered (no UFFD_EVENT_REMOVE) nor locked (EINVAL).
      check('madvise(MADV_REMOVE)', madvise(memory.aliasAddress + start, bytes, MADV_REMOVE));
      return;
    case 'drop-private': {
      const address = memory.guestAddress + start;
      if (madvise(address, bytes, MADV_DONTNEED_LOCKED) < 0) {
        const error = errno();
        if (error !== NEEDS_5_18) {
          throw new SyscallError('madvise(MADV_DONTNEED_LOCKED)', error);
        }
        check('madvise(MADV_DONTNEED)', madvise(address, bytes, MADV_DONTNEED));
      }
    }
  }
}

function check(call: string, result: number): void {
  if (result < 0) {
    throw new SyscallError(call, errno());
  }
}
