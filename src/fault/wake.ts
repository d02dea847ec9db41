import { ioctl } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { SYSCALLS } from '../measure/counters.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { UFFDIO_WAKE, uffdio_range } from '../uapi/userfaultfd.js';

/** Makes whoever sleeps on these units look at them again. */
export type Wake = (first: number, count: number) => void;

/**
 * UFFDIO_WAKE, without allocating.
 *
 * @param uffd -1 where nobody sleeps
 */
export function createWake(
  { guestAddress, unitBytes }: GuestMemoryLayout,
  uffd: number,
  counters: Float64Array,
): Wake {
  if (uffd === -1) {
    return () => undefined;
  }
  const page = new ScratchPage(64);
  const argument = page.address;
  const { u32 } = page;
  const START = uffdio_range.offset.start >> 2;
  const LENGTH = uffdio_range.offset.len >> 2;
  return (first, count) => {
    const start = guestAddress + first * unitBytes;
    const length = count * unitBytes;
    u32[START] = start; // a store takes a double modulo 2^32
    u32[START + 1] = start / 0x1_0000_0000;
    u32[LENGTH] = length;
    u32[LENGTH + 1] = length / 0x1_0000_0000;
    counters[SYSCALLS]! += 1;
    ioctl(uffd, UFFDIO_WAKE, argument);
  };
}
