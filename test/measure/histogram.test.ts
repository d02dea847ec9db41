import fc from 'fast-check';
import t from 'tap';
import {
  allocateHistograms,
  bucketOf,
  bucketStart,
  HISTOGRAM_BUCKETS,
  largestOf,
  mergeHistograms,
  percentilesOf,
  threadHistograms,
} from '../../src/measure/histogram.js';

const MAX = 2 ** 31 - 1;
/** As likely small as large. */
const values = fc
  .tuple(fc.integer({ min: 0, max: 31 }), fc.integer({ min: 0, max: MAX }))
  .map(([bits, value]) => Math.floor(value / 2 ** (31 - bits)));

t.test('a value lies between the start of its bucket and that of the next', async (t) => {
  const inside = (value: number): boolean => {
    const bucket = bucketOf(value);
    return bucketStart(bucket) <= value && value < bucketStart(bucket + 1);
  };
  for (const value of [0, 1, 15, 16, 17, 31, 32, 33, 2 ** 30, MAX]) {
    t.ok(inside(value), `${value}`);
  }
  fc.assert(fc.property(values, inside), { numRuns: 20_000 });
});

t.test('a bucket is the bucket of its own start', async (t) => {
  const last = bucketOf(MAX);
  for (let bucket = 0; bucket <= last; bucket++) {
    if (bucketOf(bucketStart(bucket)) !== bucket) {
      t.fail(`bucket ${bucket} starts at ${bucketStart(bucket)}`);
    }
  }
  t.ok(last < HISTOGRAM_BUCKETS);
});

t.test('buckets grow with values, and are a sixteenth wide at most', async (t) => {
  fc.assert(
    fc.property(values, values, (a, b) => a > b || bucketOf(a) <= bucketOf(b)),
    { numRuns: 20_000 },
  );
  for (let bucket = 16; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
    const width = bucketStart(bucket + 1) - bucketStart(bucket);
    if (width <= 0 || width > bucketStart(bucket) / 16) {
      t.fail(`bucket ${bucket} is ${width} wide`);
    }
  }
  t.ok(bucketStart(HISTOGRAM_BUCKETS) >= 2 ** 63, 'any TSC difference has a bucket');
});

function countsOf(all: readonly number[]): Float64Array {
  const counts = new Float64Array(HISTOGRAM_BUCKETS);
  for (const value of all) {
    counts[bucketOf(value)]! += 1;
  }
  return counts;
}

t.test('percentiles are those of the sorted values, to a sixteenth', async (t) => {
  fc.assert(
    fc.property(fc.array(values, { minLength: 1, maxLength: 2000 }), (all) => {
      const sorted = [...all].sort((a, b) => a - b);
      const largest = sorted.at(-1)!;
      const found = percentilesOf(countsOf(all), largest, 1)!;
      const close = (measured: number, quantile: number): boolean => {
        const exact = sorted[Math.ceil(sorted.length * quantile) - 1]!;
        return Math.abs(measured - exact) <= exact / 16;
      };
      return (
        close(found.p50, 0.5) &&
        close(found.p90, 0.9) &&
        close(found.p99, 0.99) &&
        close(found.p999, 0.999) &&
        found.max === largest
      );
    }),
    { numRuns: 500 },
  );
  t.pass();
});

t.test('no percentile exceeds the largest value', async (t) => {
  fc.assert(
    fc.property(fc.array(values, { minLength: 1 }), (all) => {
      const largest = Math.max(...all);
      const { p50, p90, p99, p999, max } = percentilesOf(countsOf(all), largest, 1)!;
      return p50 <= p90 && p90 <= p99 && p99 <= p999 && p999 <= max && max === largest;
    }),
  );
  t.pass();
});

t.test('of nothing there are no percentiles', async (t) => {
  t.equal(percentilesOf(new Float64Array(HISTOGRAM_BUCKETS), null, 1), null);
});

t.test(
  'the scale changes the unit; an unknown maximum is the end of the last bucket',
  async (t) => {
    const counts = countsOf([5, 5, 5, 1000]);
    t.strictSame(percentilesOf(counts, 1000, 0.5), {
      p50: 2.5,
      p90: 500,
      p99: 500,
      p999: 500,
      max: 500,
    });
    t.match(percentilesOf(counts, null, 1), { max: bucketStart(bucketOf(1000) + 1) - 1 });
  },
);

t.test('the largest values are those at the end of all, sorted', async (t) => {
  const some = fc.array(values, { minLength: 1, maxLength: 500 });
  fc.assert(
    fc.property(some, fc.nat(600), (all, most) => {
      const sorted = [...all].sort((a, b) => a - b);
      const kept = sorted.slice(Math.max(0, sorted.length - most));
      return Buffer.from(largestOf(countsOf(all), most).buffer).equals(
        Buffer.from(countsOf(kept).buffer),
      );
    }),
  );
  t.pass();
});

t.test('histograms of threads are added up, past 2^31 as well', async (t) => {
  const buffer = allocateHistograms(3);
  const rows = [0, 1, 2].map((thread) => threadHistograms(buffer, thread).resolve);
  rows[0]![7] = -1; // 2^32 - 1 counts
  rows[1]![7] = 2;
  rows[2]![1023] = 5;
  const merged = mergeHistograms(rows);
  t.equal(merged[7], 2 ** 32 + 1);
  t.equal(merged[1023], 5);
  t.equal(rows[1]![1023], 0, 'rows do not overlap');
});
