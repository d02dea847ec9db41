import * as Plot from '@observablehq/plot';
import type { ScalingFit } from '../../measure/scaling-law.js';
import type { Figure } from '../bench-result.js';
import type { FaultsSummary } from '../faults-result.js';
import { visible } from '../visible-text.js';
import type { Chart, LegendEntry, Size } from './chart.js';
import { type SeriesStyle, seriesStyle } from './series.js';
import { compactCount, logTicks, ticksWithRoom } from './ticks.js';

/** Throughput over vCPUs, as a curve is drawn. */
interface Line {
  readonly label: string;
  readonly style: SeriesStyle;
  readonly points: readonly { readonly vcpus: number; readonly pagesPerSecond: Figure }[];
  readonly fit: ScalingFit;
}

interface Position {
  readonly vcpus: number;
  readonly pagesPerSecond: number;
}

const MARGINS = { marginLeft: 56, marginRight: 20, marginTop: 44, marginBottom: 40 } as const;
/** Above this ratio of the highest to the lowest figure, a linear axis hides the low ones. */
const LINEAR_RATIO = 8;

/** Curves of `bench faults`: medians with ranges, fits, and what others have published. */
export function scalingChart({ curves, published }: FaultsSummary, cpus: number): Chart {
  const lines = curves.map(
    ({ label, points, fit }, index): Line => ({
      label: visible(label),
      style: seriesStyle(index),
      points: points.filter(({ pagesPerSecond }) => pagesPerSecond.median > 0),
      fit,
    }),
  );
  const others = published.map(({ label, points }, index) => ({
    label: visible(label),
    symbol: seriesStyle(curves.length + index).symbol,
    points: points.filter(({ pagesPerSecond }) => pagesPerSecond > 0),
  }));
  const measured = lines.flatMap(({ points }) => points.map(({ vcpus }) => vcpus));
  const elsewhere = others.flatMap(({ points }) => points);
  const most = Math.max(1, ...measured);
  const predicted = lines.some(({ fit }) => fit.fitted) ? beyond(lines, most) : most;
  const last = Math.max(2, predicted, ...elsewhere.map(({ vcpus }) => vcpus));
  const least = Math.min(cpus, last, ...measured, ...elsewhere.map(({ vcpus }) => vcpus));
  const xDomain: [number, number] = [least === last ? last / 2 : least, last];
  const heights = [
    ...lines.flatMap(({ points }) =>
      points.flatMap(({ pagesPerSecond: { lowest, median, highest } }) => [
        lowest,
        median,
        highest,
      ]),
    ),
    ...elsewhere.map(({ pagesPerSecond }) => pagesPerSecond),
  ].filter((height) => height > 0);
  const highest = Math.max(1, ...heights);
  const lowest = Math.min(highest, ...heights);
  const log = highest / lowest > LINEAR_RATIO;
  const yDomain: [number, number] = log ? [lowest / 1.4, highest * 1.4] : [0, highest * 1.08];

  const plot = ({ width, narrow }: Size): Plot.PlotOptions => {
    const height = narrow ? 300 : 400;
    const across = width - MARGINS.marginLeft - MARGINS.marginRight;
    const xTicks = ticksWithRoom(
      powersOfTwo(xDomain),
      (vcpus) => (Math.log(vcpus / xDomain[0]) / Math.log(xDomain[1] / xDomain[0])) * across,
      String,
    );
    const up = height - MARGINS.marginTop - MARGINS.marginBottom;
    return {
      ...MARGINS,
      height,
      x: { type: 'log', base: 2, domain: xDomain, label: 'vCPUs →', labelAnchor: 'right' },
      y: { type: log ? 'log' : 'linear', domain: yDomain, label: null },
      marks: [
        Plot.axisX({ ticks: xTicks, text: String, label: 'vCPUs →', labelOffset: 36 }),
        Plot.axisY({
          ticks: log ? logTicks(yDomain, up, () => '  ') : 5,
          text: compactCount,
          label: '↑ pages/s',
          labelOffset: 40,
        }),
        Plot.gridY({
          ticks: log ? logTicks(yDomain, up, () => '  ') : 5,
          stroke: 'currentColor',
          strokeOpacity: 0.15,
        }),
        ...cpusMark(cpus, xDomain),
        ...others.flatMap(({ label, symbol, points }) => [
          Plot.line(points, {
            x: 'vcpus',
            y: 'pagesPerSecond',
            stroke: 'var(--muted)',
            strokeDasharray: '1 3',
            ariaDescription: `${label}: published`,
          }),
          Plot.dot(points, {
            x: 'vcpus',
            y: 'pagesPerSecond',
            stroke: 'var(--muted)',
            symbol,
            r: 3,
            ariaDescription: `${label}: published points`,
          }),
        ]),
        ...lines.flatMap((line) => marksOf(line, xDomain, yDomain)),
      ],
    };
  };
  return {
    title: 'Pages per second over vCPUs.',
    description:
      'Points: medians; bars through them: from the lowest to the highest repetition. Lines: the ' +
      'fitted scaling law, dashed where it predicts beyond what was measured; where no law was ' +
      `fitted, thin lines join the points. ${log ? 'Both axes are' : 'The axis of vCPUs is'} logarithmic.`,
    legend: [
      ...lines.map(({ label, style }) => legendOf(label, style)),
      ...others.map(
        ({ label, symbol }): LegendEntry => ({
          label,
          marks: [
            Plot.lineY([0.5, 0.5], {
              x: [0, 1],
              stroke: 'var(--muted)',
              strokeDasharray: '1 3',
            }),
            Plot.dot([0.5], { x: [0.5], y: [0.5], stroke: 'var(--muted)', symbol, r: 3 }),
          ],
        }),
      ),
    ],
    plot,
  };
}

function legendOf(label: string, { color, symbol }: SeriesStyle): LegendEntry {
  return {
    label,
    marks: [
      Plot.lineY([0.5, 0.5], { x: [0, 1], stroke: color, strokeWidth: 2 }),
      Plot.dot([0.5], { x: [0.5], y: [0.5], fill: color, symbol, r: 4 }),
    ],
  };
}

/** How far the law is drawn: to the first prediction beyond all that was measured. */
function beyond(lines: readonly Line[], most: number): number {
  const predicted = lines.flatMap(({ fit }) =>
    fit.fitted ? fit.predictions.map(({ vcpus }) => vcpus) : [],
  );
  return Math.min(...predicted.filter((vcpus) => vcpus > most), most * 8);
}

function powersOfTwo([low, high]: readonly [number, number]): number[] {
  const first = Math.ceil(Math.log2(low));
  const count = Math.floor(Math.log2(high)) - first + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, index) => 2 ** (first + index));
}

/** With more vCPUs than CPUs, they take turns. */
function cpusMark(cpus: number, [low, high]: readonly [number, number]): Plot.Markish[] {
  if (cpus < low || cpus > high) {
    return [];
  }
  const late = Math.log(cpus / low) > Math.log(high / low) / 2;
  const text = `${late ? '' : '↓ '}${cpus} CPU${cpus === 1 ? '' : 's'} here${late ? ' ↓' : ''}`;
  return [
    Plot.ruleX([cpus], {
      stroke: 'currentColor',
      strokeOpacity: 0.5,
      strokeDasharray: '6 3',
      ariaDescription: 'CPUs of the host',
    }),
    Plot.text([text], {
      x: [cpus],
      frameAnchor: 'top',
      dy: -12,
      dx: late ? 4 : -4,
      textAnchor: late ? 'end' : 'start',
      text: (label: string) => label,
    }),
  ];
}

function marksOf(
  { label, style, points, fit }: Line,
  xDomain: readonly [number, number],
  yDomain: readonly [number, number],
): Plot.Markish[] {
  const { color, symbol } = style;
  const position = { x: 'vcpus', y: 'pagesPerSecond', stroke: color } as const;
  const within = ({ pagesPerSecond }: Position): boolean =>
    pagesPerSecond >= yDomain[0] && pagesPerSecond <= yDomain[1];
  const law: Plot.Markish[] = fit.fitted
    ? [
        Plot.line(
          sample(fit, Math.min(...points.map(({ vcpus }) => vcpus)), fit.measuredTo).filter(within),
          {
            ...position,
            strokeWidth: 2,
            ariaDescription: `${label}: fit`,
          },
        ),
        Plot.line(sample(fit, fit.measuredTo, xDomain[1]).filter(within), {
          ...position,
          strokeWidth: 2,
          strokeDasharray: '5 4',
          ariaDescription: `${label}: prediction`,
        }),
      ]
    : [
        Plot.line(points, {
          x: 'vcpus',
          y: ({ pagesPerSecond }: Line['points'][number]) => pagesPerSecond.median,
          stroke: color,
          strokeWidth: 1,
          ariaDescription: `${label}: joined`,
        }),
      ];
  const clip = (value: number): number => Math.min(Math.max(value, yDomain[0]), yDomain[1]);
  return [
    ...law,
    Plot.ruleX(points, {
      x: 'vcpus',
      y1: ({ pagesPerSecond }: Line['points'][number]) => clip(pagesPerSecond.lowest),
      y2: ({ pagesPerSecond }: Line['points'][number]) => clip(pagesPerSecond.highest),
      stroke: color,
      strokeWidth: 2,
      ariaDescription: `${label}: ranges`,
    }),
    Plot.dot(points, {
      x: 'vcpus',
      y: ({ pagesPerSecond }: Line['points'][number]) => pagesPerSecond.median,
      fill: color,
      symbol,
      r: 4,
      ariaDescription: `${label}: medians`,
    }),
  ];
}

/** The law, at steps that look smooth. */
function sample(fit: ScalingFit & { readonly fitted: true }, from: number, to: number): Position[] {
  if (!(to > from)) {
    return [];
  }
  const steps = 40;
  return Array.from({ length: steps + 1 }, (_, step) => {
    const vcpus = from * (to / from) ** (step / steps);
    const { lambda, contention, coherency } = fit;
    const cost = 1 + contention.value * (vcpus - 1) + coherency.value * vcpus * (vcpus - 1);
    return { vcpus, pagesPerSecond: (lambda.value * vcpus) / cost };
  });
}
