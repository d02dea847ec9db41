import { madvise } from '../ffi/libc.js';
import { MADV_POPULATE_WRITE } from '../uapi/mman.js';
import type { GuestMemoryLayout } from './guest-memory.js';
import type { Trap } from './trap.js';
import { SharedUffdCalls } from './uffd-shares.js';

/** Fault units from `first` up to, not including, `end`. */
export interface UnitRange {
  readonly first: number;
  readonly end: number;
}

/** The runs of neighbours among units. */
export function rangesOf(units: Iterable<number>): UnitRange[] {
  const ranges: { first: number; end: number }[] = [];
  for (const unit of [...new Set(units)].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last?.end === unit) {
      last.end = unit + 1;
    } else {
      ranges.push({ first: unit, end: unit + 1 });
    }
  }
  return ranges;
}

export function isResident({ resident }: GuestMemoryLayout, unit: number): boolean {
  return resident.some(({ first, end }) => first <= unit && unit < end);
}

/** Whether some units of a range are, and others are not. */
export function isPartlyResident(memory: GuestMemoryLayout, start: number, bytes: number): boolean {
  const { resident, unitBytes } = memory;
  const from = start / unitBytes;
  const to = (start + bytes) / unitBytes;
  return resident.some(({ first, end }) => first < to && from < end && (first > from || end < to));
}

/**
 * Registers a part of guest memory with userfaultfd, but for what is resident.
 *
 * @param start a guest physical address, at the start of a unit
 */
export function registerUnits(
  memory: GuestMemoryLayout,
  uffd: Pick<SharedUffdCalls, 'register'>,
  start: number,
  bytes: number,
  modes: number,
): void {
  const { guestAddress, unitBytes, resident } = memory;
  let from = start;
  const upTo = (to: number): void => {
    if (to > from) {
      uffd.register(guestAddress + from, to - from, modes);
    }
  };
  for (const { first, end } of resident) {
    if (end * unitBytes > from && first * unitBytes < start + bytes) {
      upTo(first * unitBytes);
      from = end * unitBytes;
    }
  }
  upTo(start + bytes);
}

/**
 * Leaves units to the kernel that are mapped and always will be: an image, the tables it runs on.
 *
 * The kernel takes their page table entries away too (reclaim, a collapse through another mapping of
 * the file). Trapped, that would be a fault without an address, and KVM's own walk of the guest's
 * page tables, under shadow paging, would inject a page fault into the guest: a triple fault (6.18).
 * Untrapped, the kernel maps them again by itself.
 *
 * Unregistering what was registered for write-protection leaves its entries read-only until the next
 * write (6.12), and for a KVM that looks no further than fast GUP that is an exit: written to here.
 */
export function leaveResident(memory: GuestMemoryLayout, trap: Trap): void {
  const { guestAddress, unitBytes, resident } = memory;
  const uffd = new SharedUffdCalls(memory, trap.uffds);
  for (const { first, end } of resident) {
    const address = guestAddress + first * unitBytes;
    const bytes = (end - first) * unitBytes;
    uffd.unregister(address, bytes);
    if (trap.exits && !trap.marked) {
      madvise(address, bytes, MADV_POPULATE_WRITE); // if it fails, the vCPU's own exit will say so
    }
  }
}
