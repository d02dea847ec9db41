/** The law is found again in curves that follow it, and nothing is said of curves that tell nothing. */
import fc from 'fast-check';
import t from 'tap';
import {
  type Coefficient,
  type Coefficients,
  fitScaling,
  type ScalingFit,
  type ScalingPoint,
  throughputOf,
} from '../../src/measure/scaling-law.js';

type Fitted = Extract<ScalingFit, { readonly fitted: true }>;

const COUNTS = [1, 2, 4, 8, 16, 32];

const curve = (law: Coefficients, counts: readonly number[] = COUNTS): ScalingPoint[] =>
  counts.map((vcpus) => ({ vcpus, pagesPerSecond: throughputOf(law, vcpus) }));

function fitted(points: readonly ScalingPoint[], cpus: number | null = null): Fitted {
  const fit = fitScaling(points, cpus);
  if (!fit.fitted) {
    throw new Error(`not fitted: ${fit.why}`);
  }
  return fit;
}

const near = (a: number, b: number, by: number): boolean => Math.abs(a - b) <= by;
const holds = ({ low, high }: Coefficient, value: number): boolean => low <= value && value <= high;

t.test('a curve without noise gives its own coefficients back', async () => {
  fc.assert(
    fc.property(
      fc.double({ min: 1, max: 1e7, noNaN: true }),
      fc.double({ min: 0.001, max: 0.9, noNaN: true }),
      fc.double({ min: 0.00001, max: 0.1, noNaN: true }),
      (lambda, sigma, kappa) => {
        const fit = fitted(curve([lambda, sigma, kappa]));
        return (
          near(fit.lambda.value, lambda, lambda * 1e-4) &&
          near(fit.contention.value, sigma, 1e-4 + sigma * 1e-3) &&
          near(fit.coherency.value, kappa, 1e-6 + kappa * 1e-3) &&
          fit.rSquared > 0.9999
        );
      },
    ),
    { numRuns: 100 },
  );
});

/** A noise that is not drawn: signs and sizes of their own for every point. */
const noise = (at: number): number => Math.sin(at * 12.9898 + 4.1414) * 0.03;

t.test('with noise the coefficients lie within their intervals, nearly always', async (t) => {
  let inside = 0;
  let all = 0;
  fc.assert(
    fc.property(
      fc.double({ min: 0.01, max: 0.3, noNaN: true }),
      fc.double({ min: 0.0005, max: 0.01, noNaN: true }),
      fc.integer({ min: 0, max: 1e6 }),
      (sigma, kappa, seed) => {
        const law: Coefficients = [50_000, sigma, kappa];
        const points = [0, 1, 2].flatMap((round) =>
          curve(law).map(({ vcpus, pagesPerSecond }, at) => ({
            vcpus,
            pagesPerSecond: pagesPerSecond * (1 + noise(seed + round * 17 + at * 31)),
          })),
        );
        const fit = fitted(points);
        all += 3;
        inside += Number(holds(fit.lambda, law[0]));
        inside += Number(holds(fit.contention, sigma));
        inside += Number(holds(fit.coherency, kappa));
        return (
          fit.contention.low >= 0 &&
          fit.coherency.low >= 0 &&
          holds(fit.lambda, fit.lambda.value) &&
          fit.predictions.every(
            ({ low, high, pagesPerSecond }) =>
              low > 0 && low <= pagesPerSecond && pagesPerSecond <= high && Number.isFinite(high),
          )
        );
      },
    ),
    { numRuns: 100 },
  );
  t.ok(inside / all > 0.85, `${inside} of ${all}`);
});

t.test('predictions are those of the law, beyond what was measured alone', async (t) => {
  const law: Coefficients = [10_000, 0.05, 0.0002];
  const fit = fitted(curve(law));
  t.strictSame(
    fit.predictions.map(({ vcpus }) => vcpus),
    [64, 256, 1024],
  );
  for (const { vcpus, pagesPerSecond, low, high } of fit.predictions) {
    t.ok(near(pagesPerSecond / throughputOf(law, vcpus), 1, 1e-3), `${vcpus} vCPUs`);
    t.ok(low <= pagesPerSecond && pagesPerSecond <= high);
  }
  const wide = fitted(curve(law, [1, 4, 16, 64, 256]));
  t.equal(wide.measuredTo, 256);
  t.strictSame(
    wide.predictions.map(({ vcpus }) => vcpus),
    [1024],
  );
});

t.test('the peak is where the law has it', async (t) => {
  const law: Coefficients = [10_000, 0.1, 0.001]; // √(0.9 / 0.001) = 30
  t.equal(fitted(curve(law)).peak?.vcpus, 30);
  t.match(fitted(curve(law)).verdict, /The peak is at 30 vCPUs/);
  const early = fitted(curve(law, [1, 2, 4, 8, 12]));
  t.equal(early.peak?.vcpus, 30);
  t.match(early.verdict, /predicted peak, beyond what was measured, is at 30 vCPUs/);
});

t.test('a line is limited by nothing, and has no peak', async (t) => {
  const fit = fitted(curve([7000, 0, 0]));
  t.match(fit, { contention: { value: 0 }, coherency: { value: 0 }, peak: null });
  t.match(fit.verdict, /^Neither contention nor coherency limits/);
  t.match(fit.verdict, /No peak/);
  t.ok(near(fit.lambda.value, 7000, 1));
});

t.test('one that rises faster than a line is held at a line, and said to be', async (t) => {
  const fit = fitted(COUNTS.map((vcpus) => ({ vcpus, pagesPerSecond: 1000 * vcpus ** 1.2 })));
  t.equal(fit.contention.value, 0);
  t.equal(fit.coherency.value, 0);
  t.equal(fit.contention.low, 0);
  t.match(fit.verdict, /^Neither/);
});

t.test('a curve that flattens is contention, with no peak', async (t) => {
  const fit = fitted(curve([10_000, 0.2, 0]));
  t.match(fit, { coherency: { value: 0, low: 0 }, peak: null });
  t.match(fit.verdict, /^Contention limits: at N = 32, .* 86 % of the time/);
  t.match(fit.verdict, /κ = 0 .*held at its bound/);
  t.match(fit.verdict, /no more than 50,000 pages\/s/);
});

t.test('a flat line is all contention: σ = 1', async (t) => {
  const fit = fitted(COUNTS.map((vcpus) => ({ vcpus, pagesPerSecond: 5000 })));
  t.ok(near(fit.contention.value, 1, 1e-4));
  t.equal(fit.rSquared, 1);
});

t.test('a falling curve has its peak at one vCPU', async (t) => {
  const fit = fitted(curve([10_000, 0.9, 0.4]));
  t.equal(fit.peak?.vcpus, 1);
  t.match(fit.verdict, /^Coherency limits/);
});

t.test('a κ that may be 0 gives no peak', async (t) => {
  const rough = [0, 1, 2].flatMap((round) =>
    curve([10_000, 0.1, 0.0002], [1, 2, 4, 8]).map(({ vcpus, pagesPerSecond }, at) => ({
      vcpus,
      pagesPerSecond: pagesPerSecond * (1 + 4 * noise(round * 7 + at)),
    })),
  );
  const fit = fitted(rough);
  t.equal(fit.coherency.low, 0);
  t.equal(fit.peak, null);
  t.match(fit.verdict, /cannot be told, nor whether there is one|No peak/);
});

t.test('what may be nothing is not said to limit', async (t) => {
  const rough = [1, 2, 4, 8].map((vcpus, at) => ({
    vcpus,
    pagesPerSecond: throughputOf([10_000, 0, 0.01], vcpus) * (1 + 10 * noise(at)),
  }));
  const fit = fitted(rough);
  t.equal(fit.coherency.low, 0);
  t.match(fit.verdict, /^What limits is not certain\. It is co\w+ in the best fit/);
  t.match(fit.verdict, /may be nothing: its interval includes 0/);
});

t.test('what has little to do with the law is said to', async (t) => {
  const saw = COUNTS.map((vcpus, at) => ({ vcpus, pagesPerSecond: at % 2 === 0 ? 1000 : 3000 }));
  t.match(fitted(saw).verdict, /^No verdict: the law explains .* of the variance/);
});

t.test('too few points, and points that are none, are refused with a sentence', async (t) => {
  t.match(fitScaling([], null), { fitted: false, why: /at least 4 .* there are 0/ });
  const often = [1, 1, 1, 1, 2, 4].map((vcpus) => ({ vcpus, pagesPerSecond: vcpus * 10 }));
  t.match(fitScaling(often, null), { fitted: false, why: /at least 4 .* there are 3/ });
  for (const pagesPerSecond of [Number.NaN, Number.POSITIVE_INFINITY, 0, -5]) {
    const points = [...curve([100, 0.1, 0]), { vcpus: 3, pagesPerSecond }];
    t.match(fitScaling(points, null), { fitted: false, why: /with 3 vCPUs is no throughput/ });
  }
  t.match(fitScaling([...curve([1, 0, 0]), { vcpus: 0, pagesPerSecond: 1 }], 2), {
    fitted: false,
  });
});

t.test('whatever the points, it ends, with finite figures or a sentence', async () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          vcpus: fc.integer({ min: 1, max: 64 }),
          pagesPerSecond: fc.double({ min: 0.001, max: 1e9, noNaN: true }),
        }),
        { maxLength: 12 },
      ),
      (points) => {
        const fit = fitScaling(points, 2);
        return (
          (fit.fitted && !/null|Infinity|NaN/.test(JSON.stringify({ ...fit, peak: 0 }))) ||
          (!fit.fitted && fit.why.length > 20)
        );
      },
    ),
    { numRuns: 120 },
  );
});

t.test('more vCPUs than CPUs: the verdict says what that measures', async (t) => {
  const points = curve([10_000, 0.5, 0], [1, 2, 4, 8]);
  t.match(
    fitted(points, 2).verdict,
    /2 of the 4 numbers of vCPUs exceed the 2 CPUs they may run on: .* Contention/,
  );
  t.match(
    fitted(curve([1e4, 0.1, 0]), 16).verdict,
    /vCPUs beyond the 16 CPUs they may run on take turns/,
  );
  t.notMatch(fitted(points, 8).verdict, /take turns/);
  t.notMatch(fitted(points, null).verdict, /take turns/);
});
