import fc from 'fast-check';
import t from 'tap';
import { bucketOf, HISTOGRAM_BUCKETS } from '../../src/measure/histogram.js';
import {
  inMicroseconds,
  latencyCount,
  mergeLatencies,
} from '../../src/measure/latency-histogram.js';

const histogramOf = (values: readonly number[]): Float64Array => {
  const counts = new Float64Array(HISTOGRAM_BUCKETS);
  for (const value of values) {
    counts[bucketOf(value)]! += 1;
  }
  return counts;
};

t.test('times are where they belong, each bound twice the one before', async (t) => {
  // Cycles of 2 GHz.
  const found = inMicroseconds(histogramOf([3000, 5000, 5100, 40_000]), 1 / 2000);
  t.strictSame(found, { fromMicroseconds: [1, 2, 4, 8, 16], counts: [1, 2, 0, 0, 1] });
  t.equal(inMicroseconds(histogramOf([]), 1), null);
});

t.test('nothing is lost, and nothing is further off than a bucket is wide', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 50 }),
      fc.double({ min: 1e-4, max: 10, noNaN: true }),
      (values, scale) => {
        const { fromMicroseconds: from, counts } = inMicroseconds(histogramOf(values), scale)!;
        const [least, most] = [Math.min(...values) * scale, Math.max(...values) * scale];
        return (
          counts.reduce((sum, count) => sum + count, 0) === values.length &&
          counts[0]! > 0 &&
          counts.at(-1)! > 0 &&
          from.every((bound, at) => at === 0 || bound === 2 * from[at - 1]!) &&
          from[0]! <= least * 1.5 &&
          2 * from[0]! >= least * 0.9 &&
          from.at(-1)! <= most * 1.5
        );
      },
    ),
  );
});

t.test('histograms of several runs are one', async (t) => {
  const one = { fromMicroseconds: [0.5, 1, 2], counts: [1, 0, 2] };
  const other = { fromMicroseconds: [4, 8], counts: [3, 4] };
  const both = mergeLatencies([one, other])!;
  t.strictSame(both, { fromMicroseconds: [0.5, 1, 2, 4, 8], counts: [1, 0, 2, 3, 4] });
  t.equal(latencyCount(both), 10);
  t.strictSame(mergeLatencies([one]), one);
  t.equal(mergeLatencies([one, null]), null, 'one that is missing cannot be made up for');
  t.equal(mergeLatencies([]), null);
});
