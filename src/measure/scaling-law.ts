import tQuantile from '@stdlib/stats-base-dists-t-quantile';
import { levenbergMarquardt } from 'ml-levenberg-marquardt';
import { inverse, Matrix, SingularValueDecomposition } from 'ml-matrix';
import { describeLimits, HOPELESS } from './scaling-verdict.js';

/** A coefficient with its 95 % confidence interval. */
export interface Coefficient {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/**
 * The Universal Scalability Law fitted to a curve (N. Gunther): with N vCPUs, the throughput is
 * λN / (1 + σ(N - 1) + κN(N - 1)).
 */
export type ScalingFit =
  | {
      readonly fitted: true;
      /** Throughput of one vCPU. */
      readonly lambda: Coefficient;
      /** σ: the share of the work that is serial, so that vCPUs queue for it. */
      readonly contention: Coefficient;
      /** κ: what each vCPU pays for each other one. */
      readonly coherency: Coefficient;
      /** Of the variance, what the law explains. */
      readonly rSquared: number;
      /**
       * Where throughput is highest; null where it rises for ever, or may, for all that is known: the
       * interval of κ includes 0.
       */
      readonly peak: { readonly vcpus: number; readonly pagesPerSecond: number } | null;
      /** The most vCPUs that were measured: what lies beyond is a prediction. */
      readonly measuredTo: number;
      /**
       * Beyond the measured range alone; the interval is that of the curve, not of a run. None where
       * that is wider than a factor of ten, or the law does not describe the curve.
       */
      readonly predictions: readonly {
        readonly vcpus: number;
        readonly pagesPerSecond: number;
        readonly low: number;
        readonly high: number;
      }[];
      /** In words: what limits. */
      readonly verdict: string;
    }
  | {
      readonly fitted: false;
      /** A sentence. */
      readonly why: string;
    };

/** A run, or a published point: how much so many vCPUs got done together. */
export interface ScalingPoint {
  readonly vcpus: number;
  readonly pagesPerSecond: number;
}

/** λ in pages per second, σ and κ. */
export type Coefficients = readonly [lambda: number, sigma: number, kappa: number];

/** Three coefficients, and something left to judge them by. */
const LEAST_COUNTS = 4;
/** Numbers of vCPUs that something is predicted for, where it can be. */
export const PREDICTED = [64, 256, 1024] as const;
/** High over low: a prediction that is less sure is none. */
const WIDEST = 10;
/** A coefficient below this share of its effect at the largest N is 0. */
const NOTHING = 1e-9;
/** Of the Jacobian, columns scaled to length 1: beyond it, coefficients take each other's place. */
const WORST_CONDITION = 1e8;

/** What the law says of `vcpus` vCPUs, in pages per second. */
export function throughputOf([lambda, sigma, kappa]: Coefficients, vcpus: number): number {
  return (lambda * vcpus) / (1 + sigma * (vcpus - 1) + kappa * vcpus * (vcpus - 1));
}

/**
 * Fits the law by least squares, σ and κ held at 0 or above. Repetitions are points of their own:
 * their scatter, and how far they lie from the law, make the confidence intervals.
 *
 * @param points of any order
 * @param cpus that the vCPUs could run on, which the verdict speaks of; null: not known
 */
export function fitScaling(points: readonly ScalingPoint[], cpus: number | null): ScalingFit {
  const why = whyNot(points);
  if (why !== null) {
    return { fitted: false, why };
  }
  const scale = Math.max(...points.map(({ pagesPerSecond }) => pagesPerSecond));
  const scaled = points.map((point) => ({
    ...point,
    pagesPerSecond: point.pagesPerSecond / scale,
  }));
  const { found, free, error } = bestOf(scaled);
  const measuredTo = Math.max(...points.map(({ vcpus }) => vcpus));
  const spread = covarianceOf(scaled, found, error / (points.length - free));
  if (spread === null || found.some((value) => !Number.isFinite(value))) {
    return {
      fitted: false,
      why: 'the curve does not tell the three coefficients of the law apart',
    };
  }
  const t = tQuantile(0.975, points.length - free);
  const interval = (at: number, by: number): Coefficient => {
    const value = found[at]! * by;
    const half = t * Math.sqrt(Math.max(0, spread.get(at, at))) * by;
    return { value, low: Math.max(0, value - half), high: value + half };
  };
  const lambda = interval(0, scale);
  const contention = interval(1, 1);
  const coherency = interval(2, 1);
  const coefficients: Coefficients = [lambda.value, contention.value, coherency.value];
  const peak = coherency.low > 0 ? peakOf(coefficients) : null;
  const rSquared = explained(scaled, error);
  const predictions = PREDICTED.filter((vcpus) => vcpus > measuredTo).map((vcpus) => {
    // 1 / X is linear in 1/λ, σ/λ and κ/λ, so that its interval is an honest one far away too.
    const inverted = 1 / throughputOf(found, vcpus);
    const half = t * Math.sqrt(Math.max(0, varianceOf(inverseGradient(found, vcpus), spread)));
    const most = lambda.high * vcpus;
    const high = inverted > half ? Math.min(most, scale / (inverted - half)) : most;
    const pagesPerSecond = scale / inverted;
    return {
      vcpus,
      pagesPerSecond,
      low: scale / (inverted + half),
      high: Math.max(high, pagesPerSecond),
    };
  });
  const useful = predictions.filter(
    ({ low, high }) => rSquared >= HOPELESS && high <= low * WIDEST,
  );
  const law = { lambda, contention, coherency, rSquared, peak, measuredTo };
  const fit = { ...law, predictions: useful };
  const counts = [...new Set(points.map(({ vcpus }) => vcpus))];
  return { fitted: true, ...fit, verdict: describeLimits(fit, counts, cpus) };
}

function whyNot(points: readonly ScalingPoint[]): string | null {
  const wrong = points.find(
    ({ vcpus, pagesPerSecond }) =>
      !(Number.isInteger(vcpus) && vcpus >= 1) ||
      !(Number.isFinite(pagesPerSecond) && pagesPerSecond > 0),
  );
  if (wrong !== undefined) {
    return `${wrong.pagesPerSecond} pages/s with ${wrong.vcpus} vCPUs is no throughput`;
  }
  const counts = new Set(points.map(({ vcpus }) => vcpus)).size;
  return counts < LEAST_COUNTS
    ? `the law has three coefficients: it takes at least ${LEAST_COUNTS} different numbers of vCPUs, and there ${counts === 1 ? 'is' : 'are'} ${counts}`
    : null;
}

/** The least squares over the coefficients that may be held at 0: each of the four ways is tried. */
function bestOf(points: readonly ScalingPoint[]): {
  readonly found: Coefficients;
  /** Coefficients that are not held. */
  readonly free: number;
  readonly error: number;
} {
  const start = guess(points);
  const largest = Math.max(...points.map(({ vcpus }) => vcpus));
  const ways = [[1, 2], [1], [2], []].map((indices) => {
    const found = descend(points, start, indices);
    return { found, free: 1 + indices.length, error: squares(points, found) };
  });
  const least = Math.min(...ways.map(({ error }) => error));
  // Of those as good as the best, the one with the fewest: a coefficient of nothing is held at 0.
  const total = points.reduce((sum, { pagesPerSecond }) => sum + pagesPerSecond ** 2, 0);
  const good = ways.filter(({ error }) => error <= least * (1 + NOTHING) + total * NOTHING ** 2);
  const best = good.reduce((a, b) => (b.free < a.free ? b : a));
  const [lambda, sigma, kappa] = best.found;
  const isNothing = (effect: number): boolean => effect < NOTHING;
  return {
    ...best,
    found: [
      lambda,
      isNothing(sigma * largest) ? 0 : sigma,
      isNothing(kappa * largest * largest) ? 0 : kappa,
    ],
  };
}

/** N / X is linear in 1/λ, σ/λ and κ/λ: a place to start from, where noise does not rule. */
function guess(points: readonly ScalingPoint[]): Coefficients {
  const rows = new Matrix(points.map(({ vcpus: n }) => [1, n - 1, n * (n - 1)]));
  const values = Matrix.columnVector(points.map((point) => point.vcpus / point.pagesPerSecond));
  const solved = new SingularValueDecomposition(rows, { autoTranspose: true }).solve(values);
  const [a, b, c] = solved.to1DArray();
  const single = points.reduce((x, y) => (y.vcpus < x.vcpus ? y : x));
  const lambda = a! > 0 ? 1 / a! : single.pagesPerSecond / single.vcpus;
  return [lambda, Math.max(0, b! * lambda), Math.max(0, c! * lambda)];
}

function descend(
  points: readonly ScalingPoint[],
  start: Coefficients,
  indices: readonly number[],
): Coefficients {
  const which = [0, ...indices];
  const all = (given: readonly number[]): Coefficients => {
    const full: [number, number, number] = [0, 0, 0];
    which.forEach((index, at) => {
      full[index] = given[at]!;
    });
    return full;
  };
  const data = {
    x: points.map(({ vcpus }) => vcpus),
    y: points.map(({ pagesPerSecond }) => pagesPerSecond),
  };
  const { parameterValues } = levenbergMarquardt(
    data,
    (given) => (vcpus) => throughputOf(all(given), vcpus),
    {
      initialValues: which.map((index) => start[index]!),
      minValues: which.map((index) => (index === 0 ? Number.MIN_VALUE : 0)),
      jacobianFunction: (given) => (vcpus) => {
        const slopes = gradient(all(given), vcpus);
        return which.map((index) => slopes[index]!);
      },
      errorTolerance: 1e-24,
      maxIterations: 200,
    },
  );
  return all(parameterValues);
}

function squares(points: readonly ScalingPoint[], found: Coefficients): number {
  return points.reduce(
    (sum, { vcpus, pagesPerSecond }) => sum + (pagesPerSecond - throughputOf(found, vcpus)) ** 2,
    0,
  );
}

/** Of the throughput, by each coefficient. */
function gradient(found: Coefficients, n: number): [number, number, number] {
  const [lambda] = found;
  const x = throughputOf(found, n);
  const loss = (x * x) / (lambda * n); // X / D
  return [x / lambda, -loss * (n - 1), -loss * n * (n - 1)];
}

/** Of 1 / throughput. */
function inverseGradient(found: Coefficients, n: number): [number, number, number] {
  const x = throughputOf(found, n);
  const [a, b, c] = gradient(found, n);
  return [-a / x ** 2, -b / x ** 2, -c / x ** 2];
}

/** Null where the points do not determine the coefficients. */
function covarianceOf(
  points: readonly ScalingPoint[],
  found: Coefficients,
  variance: number,
): Matrix | null {
  const jacobian = new Matrix(points.map(({ vcpus }) => gradient(found, vcpus)));
  const lengths = [0, 1, 2].map((column) => jacobian.getColumnVector(column).norm());
  if (lengths.some((length) => !(length > 0 && Number.isFinite(length)))) {
    return null;
  }
  const unit = jacobian.clone().divRowVector(lengths);
  const { condition } = new SingularValueDecomposition(unit);
  if (!(condition < WORST_CONDITION)) {
    return null;
  }
  const scaled = inverse(unit.transpose().mmul(unit)).mul(variance);
  return scaled.divRowVector(lengths).divColumnVector(lengths);
}

function varianceOf(slopes: readonly number[], covariance: Matrix): number {
  const column = Matrix.columnVector([...slopes]);
  return column.transpose().mmul(covariance).mmul(column).get(0, 0);
}

function explained(points: readonly ScalingPoint[], error: number): number {
  const mean = points.reduce((sum, { pagesPerSecond }) => sum + pagesPerSecond, 0) / points.length;
  const total = points.reduce((sum, { pagesPerSecond }) => sum + (pagesPerSecond - mean) ** 2, 0);
  // A flat line leaves nothing to explain.
  return total <= error ? (error < 1e-12 ? 1 : 0) : 1 - error / total;
}

/** Where the slope is 0; at one vCPU where it falls from there on. */
function peakOf(found: Coefficients): { vcpus: number; pagesPerSecond: number } | null {
  const [, sigma, kappa] = found;
  if (kappa === 0) {
    return null;
  }
  const exact = Math.sqrt(Math.max(0, 1 - sigma) / kappa);
  const below = Math.max(1, Math.floor(exact));
  const vcpus = throughputOf(found, below + 1) > throughputOf(found, below) ? below + 1 : below;
  return { vcpus, pagesPerSecond: throughputOf(found, vcpus) };
}
