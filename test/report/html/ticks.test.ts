import fc from 'fast-check';
import t from 'tap';
import {
  compactCount,
  compactTime,
  decimalLadder,
  logTicks,
  ticksWithRoom,
} from '../../../src/report/html/ticks.js';

t.test('labels of ticks stand clear of each other, and there are some', async (t) => {
  const size = fc.double({ min: 1e-3, max: 1e9, noNaN: true });
  const factor = fc.double({ min: 10, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(size, factor, fc.integer({ min: 240, max: 1000 }), (low, ratio, pixels) => {
      const high = low * ratio;
      const ticks = logTicks([low, high], pixels, compactTime);
      t.ok(ticks.length > 0);
      let end = Number.NEGATIVE_INFINITY;
      for (const tick of ticks) {
        const at = (Math.log(tick / low) / Math.log(ratio)) * pixels;
        const half = (compactTime(tick).length * 7) / 2; // pixels of a character
        t.ok(at - half > end, `${tick} of ${ticks}`);
        end = at + half;
      }
    }),
    { numRuns: 200 },
  );
});

t.test('ladders', async (t) => {
  t.strictSame(decimalLadder(3, 120), [5, 10, 20, 50, 100]);
  t.strictSame(decimalLadder(0.01, 0.1), [0.01, 0.02, 0.05, 0.1]);
  t.strictSame(
    ticksWithRoom([1, 2, 3], (value) => value * 5, String),
    [1],
  );
});

t.test('short numbers', async (t) => {
  t.strictSame([0.25, 12, 1500, 2.5e6, 1e9].map(compactCount), [
    '0.25',
    '12',
    '1.5k',
    '2.5M',
    '1G',
  ]);
  t.strictSame([0.5, 16, 4000, 2e6].map(compactTime), ['0.5 µs', '16 µs', '4 ms', '2 s']);
});
