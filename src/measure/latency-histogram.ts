import type { LatencyHistogram } from '../report/bench-result.js';
import { bucketStart } from './histogram.js';

/**
 * A histogram of {@link ./histogram.ts} in powers of two of microseconds. A bucket of the former that
 * lies on a bound goes to where its middle is: it holds values within 1 part in 16.
 *
 * @param microseconds that one of its units is
 * @returns null of an empty one
 */
export function inMicroseconds(
  counts: ArrayLike<number>,
  microseconds: number,
): LatencyHistogram | null {
  const byPower = new Map<number, number>();
  for (let bucket = 0; bucket < counts.length; bucket++) {
    if (counts[bucket]! > 0) {
      const middle = (bucketStart(bucket) + bucketStart(bucket + 1)) / 2;
      const power = Math.floor(Math.log2(middle * microseconds));
      byPower.set(power, (byPower.get(power) ?? 0) + counts[bucket]!);
    }
  }
  return ofPowers(byPower);
}

/** All of them together; null if one is missing, or there are none. */
export function mergeLatencies(
  histograms: readonly (LatencyHistogram | null)[],
): LatencyHistogram | null {
  const byPower = new Map<number, number>();
  for (const histogram of histograms) {
    if (histogram === null) {
      return null;
    }
    histogram.counts.forEach((count, at) => {
      const power = Math.log2(histogram.fromMicroseconds[at]!);
      byPower.set(power, (byPower.get(power) ?? 0) + count);
    });
  }
  return ofPowers(byPower);
}

/** How many times are in it. */
export function latencyCount({ counts }: LatencyHistogram): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function ofPowers(byPower: ReadonlyMap<number, number>): LatencyHistogram | null {
  if (byPower.size === 0) {
    return null;
  }
  const first = Math.min(...byPower.keys());
  const length = Math.max(...byPower.keys()) - first + 1;
  const powers = Array.from({ length }, (_, at) => first + at);
  return {
    fromMicroseconds: powers.map((power) => 2 ** power),
    counts: powers.map((power) => byPower.get(power) ?? 0),
  };
}
