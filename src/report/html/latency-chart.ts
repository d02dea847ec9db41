import * as Plot from '@observablehq/plot';
import type { LatencyHistogram } from '../bench-result.js';
import type { FaultsCurve, FaultsPoint } from '../faults-result.js';
import { visible } from '../visible-text.js';
import type { Chart, Size } from './chart.js';
import { type SeriesStyle, seriesStyle } from './series.js';
import { compactTime, logTicks } from './ticks.js';

/** More vCPU counts than these make a chart that nobody reads. */
const MOST_FACETS = 6;
const FACET_PIXELS = 64;
const MARGINS = { marginLeft: 46, marginRight: 78, marginTop: 12, marginBottom: 40 } as const;

/** What of a point of a curve is drawn. */
type Point = Pick<FaultsPoint, 'vcpus' | 'latency' | 'p50Microseconds' | 'p99Microseconds'>;

interface Timed extends Point {
  readonly latency: LatencyHistogram;
}

interface Bar {
  readonly vcpus: number;
  readonly from: number;
  readonly to: number;
  /** Of all accesses, percent. */
  readonly share: number;
}

/** How long first accesses took, for each number of vCPUs; null where nothing was timed. */
export function latencyChart(
  curve: Pick<FaultsCurve, 'label'> & { readonly points: readonly Point[] },
  index: number,
): Chart | null {
  const timed = curve.points.filter((point): point is Timed => isTimed(point));
  const points = evenly(timed, MOST_FACETS);
  if (points.length === 0) {
    return null;
  }
  const style = seriesStyle(index);
  const label = visible(curve.label);
  const bars = points.flatMap(barsOf);
  const tallest = Math.max(...bars.map(({ share }) => share));
  const domain: [number, number] = [
    Math.min(...bars.map(({ from }) => from)),
    Math.max(...bars.map(({ to }) => to)),
  ];
  const half =
    tallest / 2 >= 5 ? Math.round(tallest / 2 / 5) * 5 : Math.max(1, Math.round(tallest / 2));
  const left = timed.length - points.length;

  const plot = ({ width }: Size): Plot.PlotOptions => ({
    ...MARGINS,
    height: MARGINS.marginTop + MARGINS.marginBottom + FACET_PIXELS * points.length,
    x: { type: 'log', domain },
    y: { domain: [0, tallest * 1.05] },
    fy: { domain: points.map(({ vcpus }) => vcpus), padding: 0.15 },
    marks: [
      Plot.axisFy({
        text: (vcpus: number) => `${vcpus} vCPU${vcpus === 1 ? '' : 's'}`,
        label: null,
      }),
      Plot.axisX({
        ticks: logTicks(domain, width - MARGINS.marginLeft - MARGINS.marginRight, compactTime),
        text: compactTime,
        label: 'first access →',
        labelOffset: 36,
      }),
      Plot.axisY({ ticks: [half], text: (share: number) => `${share} %`, label: null }),
      Plot.gridY({ ticks: [half], stroke: 'currentColor', strokeOpacity: 0.15 }),
      Plot.rect(bars, {
        x1: 'from',
        x2: 'to',
        y1: 0,
        y2: 'share',
        fy: 'vcpus',
        fill: style.color,
        fillOpacity: 0.75,
        insetLeft: 0.5,
        insetRight: 0.5,
        ariaDescription: `${label}: latency`,
      }),
      Plot.ruleY([0], { stroke: 'currentColor' }),
      ...percentileMarks(points, domain, label),
    ],
  });
  return {
    title: `${label}: how long first accesses took.`,
    description:
      'Bars: the share of first accesses, in buckets of powers of two, all repetitions together; ' +
      `the line shows ${half} %.${left > 0 ? ` ${left} numbers of vCPUs between these are in the table alone.` : ''}`,
    legend: percentileLegend(style),
    half: true,
    plot,
  };
}

/** Whether there are times to draw, and their buckets are in order. */
function isTimed({ latency }: Point): boolean {
  if (latency === null) {
    return false;
  }
  const { counts, fromMicroseconds } = latency;
  return (
    counts.some((count) => count > 0) &&
    counts.length === fromMicroseconds.length &&
    fromMicroseconds.every((from, index) => from > (fromMicroseconds[index - 1] ?? 0))
  );
}

/** The first, the last, and those evenly between. */
function evenly<Item>(items: readonly Item[], most: number): Item[] {
  if (items.length <= most) {
    return [...items];
  }
  return Array.from(
    { length: most },
    (_, index) => items[Math.round((index * (items.length - 1)) / (most - 1))]!,
  );
}

function barsOf({ vcpus, latency: { fromMicroseconds, counts } }: Timed): Bar[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count, bucket) => {
    const from = fromMicroseconds[bucket]!;
    return {
      vcpus,
      from,
      to: fromMicroseconds[bucket + 1] ?? from * 2,
      share: (count / total) * 100,
    };
  });
}

const P50 = { stroke: 'currentColor', strokeWidth: 2 } as const;
const P99 = { stroke: 'currentColor', strokeWidth: 2, strokeDasharray: '3 2' } as const;

function percentileMarks(
  points: readonly Timed[],
  [low, high]: readonly [number, number],
  label: string,
): Plot.Markish[] {
  const clip = (microseconds: number): number => Math.min(Math.max(microseconds, low), high);
  return (['p50', 'p99'] as const).map((name) => {
    const known = points.flatMap((point) => {
      const figure = point[`${name}Microseconds`];
      return figure === null ? [] : [{ vcpus: point.vcpus, at: clip(figure.median) }];
    });
    return Plot.ruleX(known, {
      x: 'at',
      fy: 'vcpus',
      ...(name === 'p50' ? P50 : P99),
      ariaDescription: `${label}: ${name}`,
    });
  });
}

function percentileLegend({ color }: SeriesStyle): Chart['legend'] {
  const bar = Plot.rect([0], {
    x1: () => 0.2,
    x2: () => 0.8,
    y1: () => 0,
    y2: () => 1,
    fill: color,
    fillOpacity: 0.75,
  });
  return [
    { label: 'share of first accesses', marks: [bar] },
    { label: 'p50', marks: [Plot.ruleX([0.5], P50)] },
    { label: 'p99', marks: [Plot.ruleX([0.5], P99)] },
  ];
}
