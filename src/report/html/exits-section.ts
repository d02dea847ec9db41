import type { BenchResult } from '../bench-result.js';
import { EXITS_HEAD, type ExitRun, type ExitsSummary, exitCells } from '../exits-result.js';
import { figure } from '../figures.js';
import { drawChart } from './chart.js';
import { rangeChart } from './range-chart.js';
import type { Section } from './section.js';
import { htmlTable } from './table.js';

export function exitsSection({ summary, runs }: BenchResult<ExitRun, ExitsSummary>): Section {
  const { rows, leftOut } = summary;
  const chart = rangeChart({
    title: 'From an access to its completion, p50.',
    description: 'Alone, and beside a thread that keeps mmap_lock for write.',
    axis: 'µs →',
    rows: rows.map(({ label }) => label),
    series: [
      { label: 'alone', figures: rows.map((row) => row.p50Microseconds) },
      { label: 'pressed', figures: rows.map((row) => row.pressedP50Microseconds) },
    ],
  });
  const reasons = runs.flatMap(({ part, delivery, notMeasured }) =>
    part === 'counted'
      ? Object.entries(notMeasured).map(([name, why]) => `${delivery.used}: ${name}: ${why}`)
      : [],
  );
  return {
    verdicts: rows.map(
      ({ label, mmapLockAcquisitions, slowGup, userfaults }) =>
        `${label}: a fault takes mmap_lock ${figure(mmapLockAcquisitions, 2)} times, goes ${figure(slowGup, 2)} times through slow GUP and ${figure(userfaults, 2)} times to a userfaultfd.`,
    ),
    body: [
      chart === null ? null : drawChart(chart),
      htmlTable(
        'Counts per fault, from a run of their own; times are medians over the repetitions',
        [...EXITS_HEAD],
        rows.map(exitCells),
      ),
    ],
    notMeasured: [...leftOut.map(({ label, why }) => `${label}: ${why}`), ...new Set(reasons)],
    disturbed: [],
  };
}
