import type { RunResult } from '../machine/run-result.js';
import type { BenchResult, BenchSet } from './bench-result.js';
import { countsOf, type ExitRun, type ExitsSummary, type FaultCounts } from './exits-result.js';
import type { FaultsSummary } from './faults-result.js';
import { visible } from './visible-text.js';

/** Whether what a bench keeps of a run is all of the run's result. */
export function isRun(run: unknown): run is RunResult {
  return (run as { readonly schema?: unknown }).schema === 'faultline.run/1';
}

/**
 * Where a bench says what its own runs do not: a run that did not verify, a median outside of its
 * range, figures without runs. A place and what is wrong there, or null. A run by itself may have
 * ended in any way, for it says how.
 */
export function whyItsRunsDeny(result: RunResult | BenchResult | BenchSet): string | null {
  switch (result.schema) {
    case 'faultline.run/1':
      return null;
    case 'faultline.bench/1':
      return whyDenied(result, '');
    case 'faultline.benches/1':
      return firstOf(result.results, (bench, index) => whyDenied(bench, `/results/${index}`));
  }
}

function whyDenied(bench: BenchResult, place: string): string | null {
  const { runs, summary } = bench;
  const { wrong, ranges } = lookAtRanges(summary, `${place}/summary`);
  // Rows of `deliveries` and `micro` are figures too, without a range.
  const shown = ranges > 0 || (Array.isArray(summary) && summary.length > 0);
  return (
    firstOf(runs, (run, index) => whyUnverified(run, `${place}/runs/${index}`)) ??
    wrong ??
    (shown && runs.length === 0 ? `${place}/runs is empty, and there are figures` : null) ??
    (bench.bench === 'faults' ? whyNoneOfItsRuns(bench as FaultsBench, place) : null) ??
    (bench.bench === 'exits' ? whyNotAsCounted(bench as ExitsBench, place) : null)
  );
}

function whyUnverified(run: unknown, place: string): string | null {
  if (!isRun(run)) {
    return null;
  }
  const { outcome, pages } = run;
  if (outcome !== 'completed') {
    return `${place} ended as ${outcome}`;
  }
  if ((pages.mismatched ?? 0) > 0) {
    return `${place} has ${pages.mismatched} wrong pages`;
  }
  return pages.verified === pages.touched
    ? null
    : `${place} verified ${pages.verified ?? 'none'} of ${pages.touched ?? 'unknown'} pages touched`;
}

interface Ranges {
  readonly wrong: string | null;
  /** How many there are, up to the wrong one. */
  readonly ranges: number;
}

/** All figures that have a range; of `overhead` the middle is a ratio. */
function lookAtRanges(root: unknown, place: string): Ranges {
  let ranges = 0;
  const left: { readonly value: unknown; readonly at: string }[] = [{ value: root, at: place }];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { value, at } = next;
    if (typeof value !== 'object' || value === null) {
      continue;
    }
    const { median, ratio, lowest, highest } = value as Readonly<Record<string, unknown>>;
    const middle = median ?? ratio;
    if (typeof middle === 'number' && typeof lowest === 'number' && typeof highest === 'number') {
      ranges++;
      if (!(lowest <= middle && middle <= highest)) {
        const wrong = `${placeText(at)} is ${middle}, outside of its range ${lowest} to ${highest}`;
        return { wrong, ranges };
      }
    }
    for (const [name, held] of Object.entries(value)) {
      left.push({ value: held, at: `${at}/${name}` });
    }
  }
  return { wrong: null, ranges };
}

type FaultsBench = BenchResult<unknown, FaultsSummary>;

/** Runs are told apart by what all of them have; more than the point's own only widen the range. */
function whyNoneOfItsRuns({ runs, summary }: FaultsBench, place: string): string | null {
  const kept = runs.filter(isRun);
  return firstOf(summary.curves, ({ subject, points }, curve) =>
    firstOf(points, ({ vcpus, pagesPerSecond: { median } }, point) => {
      const rates = kept
        .filter(
          ({ config, delivery }) =>
            config.vcpus === vcpus &&
            config.backing === subject.backing &&
            config.uffds === subject.uffds &&
            delivery.used === subject.delivery,
        )
        .flatMap(({ pagesPerSecond }) => pagesPerSecond ?? []);
      // Math.min(...rates) has a limit that a file may exceed.
      const below = rates.some((rate) => rate <= median);
      const above = rates.some((rate) => rate >= median);
      return rates.length === 0 || (below && above)
        ? null
        : `${place}/summary/curves/${curve}/points/${point} has ${median} pages/s, outside of what its runs have`;
    }),
  );
}

type ExitsBench = BenchResult<ExitRun, ExitsSummary>;

/** Rows are there for all that ran, with what their runs have counted. */
function whyNotAsCounted({ runs, summary: { rows } }: ExitsBench, place: string): string | null {
  const lost = runs.find(({ label }) => rows.every((row) => row.label !== label));
  if (lost !== undefined) {
    return `${place}/summary/rows has none for ${placeText(lost.label)}, which ran`;
  }
  return firstOf(rows, (row, index) => {
    const counted = runs.find(({ label, part }) => label === row.label && part === 'counted');
    if (counted === undefined) {
      return `${place}/summary/rows/${index} has no run that counted`;
    }
    const counts = Object.entries(countsOf(counted)) as [keyof FaultCounts, number | null][];
    return firstOf(counts, ([name, value]) =>
      row[name] === value
        ? null
        : `${place}/summary/rows/${index}/${name} is ${row[name]}, and its run counted ${value ?? 'nothing'}`,
    );
  });
}

/** Names in a file may be anything. */
function placeText(place: string): string {
  return visible(place.slice(0, 200)).replace(/\s+/g, ' ');
}

function firstOf<Value>(
  values: readonly Value[],
  why: (value: Value, index: number) => string | null,
): string | null {
  for (const [index, value] of values.entries()) {
    const found = why(value, index);
    if (found !== null) {
      return found;
    }
  }
  return null;
}
