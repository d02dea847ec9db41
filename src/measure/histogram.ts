/**
 * Log2 latency histograms in shared memory: 16 buckets in every power of two, so a value is known
 * to 1 part in 16. One 32-bit count per bucket; the `touch` guest fills the same layout with TSC
 * cycles (guest-images/abi.h).
 */

export const SUB_BITS = 4;
const SUB_BUCKETS = 1 << SUB_BITS;

/** Enough for any 64-bit value; a multiple of 4 KiB in memory. */
export const HISTOGRAM_BUCKETS = 1024;
export const HISTOGRAM_BYTES = HISTOGRAM_BUCKETS * 4;

/** What a thread times of its faults, each a histogram of nanoseconds. */
export interface ThreadHistograms {
  /** Every fault, from its arrival in userspace to the end of its resolution. */
  readonly resolve: Int32Array;
  /** Of faults told apart: the time outside system calls and page faults of our own. */
  readonly user: Int32Array;
  /** Of the same: the kernel allocating the page, in a fault of the alias mapping. */
  readonly allocate: Int32Array;
}

/** Shared memory for all histograms of `threads` threads. */
export function allocateHistograms(threads: number): SharedArrayBuffer {
  return new SharedArrayBuffer(threads * 3 * HISTOGRAM_BYTES);
}

/** Those of one thread. */
export function threadHistograms(buffer: SharedArrayBuffer, thread: number): ThreadHistograms {
  const at = (which: number): Int32Array =>
    new Int32Array(buffer, (thread * 3 + which) * HISTOGRAM_BYTES, HISTOGRAM_BUCKETS);
  return { resolve: at(0), user: at(1), allocate: at(2) };
}

/** The bucket of `value`, a whole number of 0 to 2^31 - 1. */
export function bucketOf(value: number): number {
  if (value < SUB_BUCKETS) {
    return value;
  }
  const exponent = 31 - Math.clz32(value) - SUB_BITS;
  return ((exponent + 1) << SUB_BITS) + ((value >>> exponent) & (SUB_BUCKETS - 1));
}

/** The smallest value of `bucket`; that of the next bucket is one more than its largest. */
export function bucketStart(bucket: number): number {
  if (bucket < SUB_BUCKETS) {
    return bucket;
  }
  const exponent = (bucket >>> SUB_BITS) - 1;
  return (SUB_BUCKETS + (bucket & (SUB_BUCKETS - 1))) * 2 ** exponent;
}

/** Percentiles of what a histogram counted, in the unit it counted. */
export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Adds up histograms of several threads. */
export function mergeHistograms(histograms: readonly ArrayLike<number>[]): Float64Array {
  const merged = new Float64Array(HISTOGRAM_BUCKETS);
  for (const counts of histograms) {
    for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
      merged[bucket]! += counts[bucket]! >>> 0;
    }
  }
  return merged;
}

/** A histogram of the largest `most` values alone. */
export function largestOf(counts: ArrayLike<number>, most: number): Float64Array {
  const largest = new Float64Array(counts.length);
  let left = most;
  for (let bucket = counts.length - 1; bucket >= 0 && left > 0; bucket--) {
    largest[bucket] = Math.min(left, counts[bucket]!);
    left -= largest[bucket]!;
  }
  return largest;
}

/**
 * Percentiles, each the middle of its bucket; null of an empty histogram.
 *
 * @param counts one count per bucket
 * @param max the largest value, where it is known exactly; else the end of the last bucket
 * @param scale multiplies every value, to change its unit
 */
export function percentilesOf(
  counts: ArrayLike<number>,
  max: number | null,
  scale: number,
): Percentiles | null {
  let total = 0;
  let last = 0;
  for (let bucket = 0; bucket < counts.length; bucket++) {
    if (counts[bucket]! > 0) {
      total += counts[bucket]!;
      last = bucket;
    }
  }
  if (total === 0) {
    return null;
  }
  const largest = max ?? bucketStart(last + 1) - 1;
  const at = (quantile: number): number => {
    const wanted = Math.ceil(total * quantile);
    let seen = 0;
    let bucket = 0;
    for (seen = counts[0]!; seen < wanted; seen += counts[bucket]!) {
      bucket++;
    }
    const middle = (bucketStart(bucket) + bucketStart(bucket + 1) - 1) / 2;
    return Math.min(middle, largest) * scale;
  };
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: largest * scale };
}
