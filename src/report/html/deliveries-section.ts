import type { BenchResult } from '../bench-result.js';
import { type DeliveryRow, deliveryCells, type LabelledRun } from '../deliveries-result.js';
import { figure, figureOf } from '../figures.js';
import { drawChart } from './chart.js';
import { rangeChart } from './range-chart.js';
import type { Section } from './section.js';
import { htmlTable } from './table.js';

export function deliveriesSection({
  summary,
  runs,
}: BenchResult<LabelledRun, readonly DeliveryRow[]>): Section {
  const times = (label: string): readonly LabelledRun[] =>
    runs.filter((run) => run.label === label && !run.counted);
  const chart = rangeChart({
    title: 'From an access to its completion.',
    description: "First accesses, by the guest's TSC.",
    axis: 'µs →',
    rows: summary.map(({ label }) => label),
    series: (['p50', 'p99'] as const).map((name) => ({
      label: name,
      figures: summary.map(({ label }) =>
        figureOf(times(label).map((run) => run.latencyMicroseconds?.[name])),
      ),
    })),
  });
  const reasons = runs.flatMap(({ counted, delivery, notMeasured }) =>
    counted
      ? Object.entries(notMeasured).map(([name, why]) => `${delivery.used}: ${name}: ${why}`)
      : [],
  );
  return {
    verdicts: summary.map(
      ({ label, mmapLockAcquisitions, contextSwitches }) =>
        `${label}: a fault takes mmap_lock ${figure(mmapLockAcquisitions, 2)} times, with ${figure(contextSwitches, 2)} context switches.`,
    ),
    body: [
      chart === null ? null : drawChart(chart),
      htmlTable(
        'Medians over the repetitions; mmap_lock and context switches per fault, from a run that counted them',
        [
          'delivery',
          'faults',
          'p50 µs',
          'p99 µs',
          'pages/s',
          'mmap_lock',
          'context switches',
          'verified',
        ],
        summary.map(deliveryCells),
      ),
    ],
    notMeasured: [...new Set(reasons)],
    disturbed: [],
  };
}
