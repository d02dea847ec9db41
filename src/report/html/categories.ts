import * as Plot from '@observablehq/plot';
import { visible } from '../visible-text.js';
import type { Size } from './chart.js';
import { compactCount, logTicks, ticksWithRoom } from './ticks.js';

/**
 * A chart of rows, each a name with its bar or range below it: names as long as they are have a line
 * of their own, so that narrow drawings need no margin for them. In a row, y goes from 0 to 1, and
 * what is drawn stays below {@link NAME_FROM}.
 */
const ROW_PIXELS = 46;
const MARGINS = { marginLeft: 8, marginRight: 24, marginTop: 4, marginBottom: 40 } as const;

/** Rows are told apart by their names: the same name twice gets a number. */
export function distinctLabels(labels: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return labels.map((label) => {
    const times = (seen.get(label) ?? 0) + 1;
    seen.set(label, times);
    return visible(times === 1 ? label : `${label} (${times})`);
  });
}

type Domain = readonly [low: number, high: number];

export function categoryOptions(
  labels: readonly string[],
  domain: Domain,
  axis: string,
  _size: Size,
  type: 'linear' | 'log' = 'linear',
): Plot.PlotOptions {
  return {
    ...MARGINS,
    height: MARGINS.marginTop + MARGINS.marginBottom + ROW_PIXELS * labels.length,
    x: { type, domain: [...domain], label: axis },
    y: { domain: [0, 1], axis: null },
    fy: { domain: [...labels], axis: null, padding: 0.05 },
  };
}

/** Axis, grid and names. */
export function categoryMarks(
  labels: readonly string[],
  domain: Domain,
  axis: string,
  { width }: Size,
  type: 'linear' | 'log' = 'linear',
): Plot.Markish[] {
  const across = width - MARGINS.marginLeft - MARGINS.marginRight;
  const ticks =
    type === 'log' ? logTicks(domain, across, compactCount) : linearTicks(domain, across);
  return [
    Plot.axisX({ ticks, text: compactCount, label: axis, labelOffset: 36 }),
    Plot.gridX({ ticks, stroke: 'currentColor', strokeOpacity: 0.15 }),
    Plot.text(labels, {
      fy: (label: string) => label,
      frameAnchor: 'top-left',
      text: (label: string) => label,
      dy: 4,
      // The grid does not run through the names.
      fill: 'currentColor',
      stroke: 'var(--ground)',
      strokeWidth: 4,
      lineWidth: across / 14,
      textOverflow: 'ellipsis-end',
    }),
  ];
}

function linearTicks([low, high]: Domain, pixels: number): number[] {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough)!;
  const values = Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, index) =>
    Number((low + index * step).toPrecision(12)),
  );
  return ticksWithRoom(values, (value) => ((value - low) / (high - low)) * pixels, compactCount);
}
