import { clock_gettime } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { CLOCK_MONOTONIC } from '../uapi/syscall.js';

/**
 * Points in time on the hot path: CLOCK_MONOTONIC written by the vDSO straight into memory, so
 * that nothing is allocated. `performance.now()` boxes a double, `hrtime.bigint()` a BigInt.
 *
 * @param count how many points are held at once, at least 2
 * @returns `stamp[k]` takes point k; `between(a, b)` is the time from a to b in whole nanoseconds,
 * 2^31 - 1 at most; `costNanoseconds` is what taking a point adds to the time between two (0.1 µs
 * here), for those who take it off
 */
export function monotonicClock(count: number): {
  readonly stamp: readonly (() => void)[];
  readonly between: (from: number, to: number) => number;
  readonly costNanoseconds: number;
} {
  const page = new ScratchPage(count * 16);
  const words = page.s32;
  const stamp = Array.from({ length: count }, (_, at) => {
    const address = page.address + at * 16;
    return () => {
      clock_gettime(CLOCK_MONOTONIC, address);
    };
  });
  const between = (from: number, to: number): number => {
    const seconds = words[to * 4]! - words[from * 4]!;
    const nanoseconds = seconds * 1_000_000_000 + words[to * 4 + 2]! - words[from * 4 + 2]!;
    return Math.min(nanoseconds, 0x7fff_ffff) | 0;
  };
  return { stamp, between, costNanoseconds: measureCost(stamp, between) };
}

/** The median of pairs taken back to back; the first half lets the compiler settle. */
function measureCost(
  stamp: readonly (() => void)[],
  between: (from: number, to: number) => number,
): number {
  const costs: number[] = [];
  for (let pair = 0; pair < 512; pair++) {
    stamp[0]!();
    stamp[1]!();
    costs.push(between(0, 1));
  }
  return costs.slice(256).sort((a, b) => a - b)[128]!;
}
