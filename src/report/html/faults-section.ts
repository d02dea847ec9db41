import type { ScalingFit } from '../../measure/scaling-law.js';
import type { BenchResult } from '../bench-result.js';
import type { FaultsCurve, FaultsSummary } from '../faults-result.js';
import { count, disturbedText, figure, figureText, standsClear } from '../figures.js';
import { drawChart, drawPairs } from './chart.js';
import { latencyChart } from './latency-chart.js';
import { html, type Markup } from './markup.js';
import { scalingChart } from './scaling-chart.js';
import type { Section } from './section.js';
import { htmlTable } from './table.js';

export function faultsSection({ summary, host }: BenchResult<unknown, FaultsSummary>): Section {
  const { curves, published, leftOut } = summary;
  const latencies = curves.map((curve, index) => latencyChart(curve, index));
  const points = curves.flatMap(({ points }) => points);
  return {
    verdicts: [
      ...contest(curves),
      ...curves.map(
        ({ label, fit }) => `${label}: ${sentence(fit.fitted ? fit.verdict : fit.why)}`,
      ),
      ...published.flatMap(({ label, fit }) =>
        fit?.fitted ? [`${label}, by others: ${sentence(fit.verdict)}`] : [],
      ),
    ],
    body: [
      points.length === 0 ? null : drawChart(scalingChart(summary, host.cpus)),
      pointsTable(curves),
      fitTable([...curves, ...published]),
      publishedTable(published),
      drawPairs(latencies.filter((chart) => chart !== null)),
    ],
    notMeasured: [
      ...leftOut.map(({ label, reason }) => `${label}: ${reason}`),
      ...curves
        .filter((_, index) => latencies[index] === null)
        .map(({ label }) => `${label}: how long single accesses took`),
    ],
    disturbed: curves.flatMap(({ label, points }) =>
      points
        .filter(({ disturbed }) => disturbed > 0)
        .map((point) => `${label}, ${point.vcpus} vCPUs: ${disturbedText(point)} runs`),
    ),
  };
}

function sentence(text: string): string {
  return text.endsWith('.') ? text : `${text}.`;
}

/** The fastest against the slowest, where all were measured with as many vCPUs. */
function contest(curves: readonly FaultsCurve[]): string[] {
  const [first, ...others] = curves;
  const common = (first?.points ?? [])
    .map(({ vcpus }) => vcpus)
    .filter((vcpus) => others.every(({ points }) => points.some((point) => point.vcpus === vcpus)));
  if (first === undefined || others.length === 0 || common.length === 0) {
    return [];
  }
  const vcpus = Math.max(...common);
  const there = curves
    .map(({ label, points }) => ({
      label,
      figure: points.find((point) => point.vcpus === vcpus)!.pagesPerSecond,
    }))
    .sort((a, b) => b.figure.median - a.figure.median);
  const [best, worst] = [there[0]!, there.at(-1)!];
  const at = `With ${vcpus} vCPU${vcpus === 1 ? '' : 's'}`;
  const ratio = best.figure.median / worst.figure.median;
  if (!Number.isFinite(ratio)) {
    return [`${at}, ${worst.label} brought in next to no pages.`];
  }
  const factor = figure(ratio, 2);
  switch (standsClear(best.figure, worst.figure)) {
    case true:
      return [`${at}, ${best.label} is the fastest: ${factor} times ${worst.label}, the slowest.`];
    case false:
      return [`${at}, none of the curves stands clear of the others.`];
    case null:
      return [
        `${at}, ${best.label} did ${factor} times the pages per second of ${worst.label}, in one repetition: noise is not known.`,
      ];
  }
}

function pointsTable(curves: readonly FaultsCurve[]): Markup {
  return htmlTable(
    'Every point: medians, lowest and highest of the repetitions',
    ['curve', 'vCPUs', 'pages/s', 'p50 µs', 'p99 µs', 'runs', 'verified in each'],
    curves.flatMap(({ label, points }) =>
      points.map((point) => [
        label,
        String(point.vcpus),
        figureText(point.pagesPerSecond, 0),
        figureText(point.p50Microseconds, 1),
        figureText(point.p99Microseconds, 1),
        `${point.pagesPerSecond.runs}${point.disturbed > 0 ? `, ${point.disturbed} disturbed` : ''}`,
        count(point.pagesVerified),
      ]),
    ),
  );
}

function fitTable(
  curves: readonly { readonly label: string; readonly fit?: ScalingFit }[],
): Markup | null {
  const fits = curves.flatMap(({ label, fit }) => (fit?.fitted ? [{ label, fit }] : []));
  if (fits.length === 0) {
    return null;
  }
  const sizes = [
    ...new Set(fits.flatMap(({ fit }) => fit.predictions.map(({ vcpus }) => vcpus))),
  ].sort((a, b) => a - b);
  const interval = ({ value, low, high }: { value: number; low: number; high: number }): string =>
    `${value.toPrecision(3)} (${low.toPrecision(2)} to ${high.toPrecision(2)})`;
  const table = htmlTable(
    'The scaling law fitted, with 95 % confidence intervals',
    ['curve', 'one vCPU, pages/s', 'contention σ', 'coherency κ', 'R²', 'peak', 'measured to'],
    fits.map(({ label, fit }) => [
      label,
      `${count(Math.round(fit.lambda.value))} (${count(Math.round(fit.lambda.low))} to ${count(Math.round(fit.lambda.high))})`,
      interval(fit.contention),
      interval(fit.coherency),
      figure(fit.rSquared, 3),
      fit.peak === null
        ? fit.coherency.high === 0
          ? 'none'
          : 'cannot be told'
        : `${count(Math.round(fit.peak.pagesPerSecond))} at ${figure(fit.peak.vcpus, 1)} vCPUs`,
      `${fit.measuredTo} vCPUs`,
    ]),
  );
  if (sizes.length === 0) {
    return table;
  }
  const predictions = htmlTable(
    'What the law predicts beyond what was measured, pages/s: no measurement',
    ['curve', ...sizes.map((vcpus) => `${vcpus} vCPUs`)],
    fits.map(({ label, fit }) => [
      label,
      ...sizes.map((vcpus) => {
        const found = fit.predictions.find((prediction) => prediction.vcpus === vcpus);
        return found === undefined
          ? '–'
          : `${count(Math.round(found.pagesPerSecond))} (${count(Math.round(found.low))} to ${count(Math.round(found.high))})`;
      }),
    ]),
  );
  return html`${table}${predictions}`;
}

function publishedTable(published: FaultsSummary['published']): Markup | null {
  return published.length === 0
    ? null
    : htmlTable(
        'Published by others, on other machines',
        ['curve', 'source', 'vCPUs: pages/s'],
        published.map(({ label, source, points }) => [
          label,
          source,
          points
            .map(({ vcpus, pagesPerSecond }) => `${vcpus}: ${count(pagesPerSecond)}`)
            .join(', '),
        ]),
        3,
      );
}
