import { clock_gettime } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { CLOCK_MONOTONIC } from '../uapi/syscall.js';

/**
 * Points in time on the hot path: CLOCK_MONOTONIC written by the vDSO straight into memory, so
 * that nothing is allocated. `performance.now()` boxes a double, `hrtime.bigint()` a BigInt.
 *
 * @param count how many points are held at once
 * @returns `stamp[k]` takes point k (about 60 ns); `between(a, b)` is the time from a to b in whole
 * nanoseconds, 2^31 - 1 at most
 */
export function monotonicClock(count: number): {
  readonly stamp: readonly (() => void)[];
  readonly between: (from: number, to: number) => number;
} {
  const page = new ScratchPage(count * 16);
  const words = page.s32;
  return {
    stamp: Array.from({ length: count }, (_, at) => {
      const address = page.address + at * 16;
      return () => {
        clock_gettime(CLOCK_MONOTONIC, address);
      };
    }),
    between: (from, to) => {
      const seconds = (words[to * 4]! - words[from * 4]!) | 0;
      return seconds > 1
        ? 0x7fff_ffff
        : (seconds * 1_000_000_000 + words[to * 4 + 2]! - words[from * 4 + 2]!) | 0;
    },
  };
}
