import * as Plot from '@observablehq/plot';
import type { Figure } from '../bench-result.js';
import { visible } from '../visible-text.js';
import { categoryMarks, categoryOptions, distinctLabels } from './categories.js';
import type { Chart, LegendEntry } from './chart.js';
import { seriesStyle } from './series.js';

/** Figures that belong together: one in each row, or none. */
export interface RangeSeries {
  readonly label: string;
  readonly figures: readonly (Figure | null)[];
}

interface RangeChart {
  readonly title: string;
  readonly description: string;
  readonly axis: string;
  readonly rows: readonly string[];
  readonly series: readonly RangeSeries[];
  /** A line to compare with. */
  readonly mark?: { readonly at: number; readonly label: string };
}

/** Where medians differ by more than this, a logarithmic axis is needed to see the small ones. */
const LINEAR_RATIO = 20;
/** Series stand below each other in a row, between these. */
const LANES = { top: 0.5, bottom: 0.1 } as const;

/** Medians with their ranges, a row for each thing measured; null where there is no figure. */
export function rangeChart(chart: RangeChart): Chart | null {
  const labels = distinctLabels(chart.rows);
  const marks = chart.series.flatMap(({ label, figures }, index) =>
    figures.flatMap((figure, row) =>
      figure === null || labels[row] === undefined
        ? []
        : [{ ...figure, row: labels[row], label, lane: laneOf(index, chart.series.length) }],
    ),
  );
  if (marks.length === 0) {
    return null;
  }
  const values = [
    ...marks.flatMap(({ lowest, median, highest }) => [lowest, median, highest]),
    ...(chart.mark === undefined ? [] : [chart.mark.at]),
  ];
  const high = Math.max(...values) || 1;
  const positive = values.filter((value) => value > 0);
  const low = Math.min(high, ...positive);
  const log = positive.length === values.length && high / low > LINEAR_RATIO;
  const domain = log ? ([low / 1.3, high * 1.3] as const) : ([0, high * 1.05] as const);
  const type = log ? 'log' : 'linear';
  return {
    title: chart.title,
    description: `${chart.description} Points: medians; bars through them: from the lowest to the highest repetition.${log ? ' The axis is logarithmic.' : ''}`,
    legend: [
      ...(chart.series.length < 2 ? [] : chart.series.map(legendOf)),
      ...(chart.mark === undefined
        ? []
        : [{ label: chart.mark.label, marks: [Plot.ruleX([0.5], MARK)] }]),
    ],
    plot: (size) => ({
      ...categoryOptions(labels, domain, chart.axis, size, type),
      marks: [
        ...categoryMarks(labels, domain, chart.axis, size, type),
        ...(chart.mark === undefined ? [] : [Plot.ruleX([chart.mark.at], MARK)]),
        ...chart.series.flatMap(({ label }, index) => {
          const { color, symbol } = seriesStyle(index);
          const mine = marks.filter((mark) => mark.label === label);
          return [
            Plot.ruleY(mine, {
              fy: 'row',
              y: 'lane',
              x1: 'lowest',
              x2: 'highest',
              stroke: color,
              strokeWidth: 2,
              ariaDescription: `${visible(label)}: ranges`,
            }),
            Plot.dot(mine, {
              fy: 'row',
              y: 'lane',
              x: 'median',
              fill: color,
              symbol,
              r: 4,
              ariaDescription: `${visible(label)}: medians`,
            }),
          ];
        }),
      ],
    }),
  };
}

const MARK = { stroke: 'currentColor', strokeDasharray: '4 3' } as const;

function laneOf(index: number, lanes: number): number {
  return lanes === 1
    ? (LANES.top + LANES.bottom) / 2
    : LANES.top - ((LANES.top - LANES.bottom) * index) / (lanes - 1);
}

function legendOf({ label }: RangeSeries, index: number): LegendEntry {
  const { color, symbol } = seriesStyle(index);
  return {
    label,
    marks: [
      Plot.ruleY([0.5], { x1: 0, x2: 1, stroke: color, strokeWidth: 2 }),
      Plot.dot([0.5], { x: [0.5], y: [0.5], fill: color, symbol, r: 4 }),
    ],
  };
}
