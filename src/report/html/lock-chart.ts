import * as Plot from '@observablehq/plot';
import type { ContentionRow } from '../contention-result.js';
import { categoryMarks, categoryOptions, distinctLabels } from './categories.js';
import type { Chart, LegendEntry } from './chart.js';
import { READ_WAIT, WRITE_HOLD, WRITE_WAIT } from './patterns.js';

interface Part {
  readonly label: string;
  readonly fill: string;
  readonly of: (row: ContentionRow) => number | null;
}

const TIMES: readonly Part[] = [
  {
    label: 'read, waiting',
    fill: READ_WAIT.reference,
    of: ({ read }) => read.waitMicroseconds?.median ?? null,
  },
  {
    label: 'read, holding',
    fill: READ_WAIT.color,
    of: ({ read }) => read.holdMicroseconds?.median ?? null,
  },
  {
    label: 'write, waiting',
    fill: WRITE_WAIT.reference,
    of: ({ write }) => write.waitMicroseconds?.median ?? null,
  },
  {
    label: 'write, holding',
    fill: WRITE_HOLD.reference,
    of: ({ write }) => write.holdMicroseconds?.median ?? null,
  },
];

const ACQUISITIONS: readonly Part[] = [
  { label: 'for read', fill: READ_WAIT.color, of: ({ read }) => read.acquisitions.median },
  { label: 'for write', fill: WRITE_HOLD.reference, of: ({ write }) => write.acquisitions.median },
];

/** How long mmap_lock is waited for and held, per fault; null where nothing was traced. */
export function lockTimeChart(rows: readonly ContentionRow[]): Chart | null {
  const traced = rows.filter((row) => TIMES.some(({ of }) => of(row) !== null));
  if (traced.length === 0) {
    return null;
  }
  const left = rows.length - traced.length;
  return stackedChart(
    'mmap_lock budget of a fault.',
    'Microseconds per fault that vCPUs and handlers together wait for mmap_lock and hold it, medians; ' +
      `holding for read hinders writers alone.${left > 0 ? ` Not traced in ${left} of the rows.` : ''}`,
    'µs per fault →',
    traced,
    TIMES,
  );
}

/** How often mmap_lock is taken, per fault. */
export function lockCountChart(rows: readonly ContentionRow[]): Chart {
  return stackedChart(
    'Acquisitions of mmap_lock in a fault.',
    'By vCPUs and handlers together, medians. They are counted, and hardly differ between hosts.',
    'acquisitions per fault →',
    rows,
    ACQUISITIONS,
  );
}

function stackedChart(
  title: string,
  description: string,
  axis: string,
  rows: readonly ContentionRow[],
  parts: readonly Part[],
): Chart {
  const labels = distinctLabels(rows.map(({ label }) => label));
  const segments = rows.flatMap((row, index) => {
    let from = 0;
    return parts.map(({ label, fill, of }) => {
      const length = of(row) ?? 0;
      const segment = { row: labels[index]!, part: label, fill, from, to: from + length };
      from += length;
      return segment;
    });
  });
  const most = Math.max(0, ...segments.map(({ to }) => to)) || 1;
  return {
    title,
    description,
    legend: parts.map(({ label, fill }): LegendEntry => {
      const frame = { x1: () => 0.05, x2: () => 0.95, y1: () => 0.05, y2: () => 0.95 };
      return {
        label,
        marks: [Plot.rect([0], { ...frame, fill, stroke: 'currentColor', strokeOpacity: 0.5 })],
      };
    }),
    plot: (size) => ({
      ...categoryOptions(labels, [0, most * 1.02], axis, size),
      marks: [
        ...categoryMarks(labels, [0, most * 1.02], axis, size),
        ...parts.map(({ label, fill }) =>
          Plot.rect(
            segments.filter(({ part, from, to }) => part === label && to > from),
            {
              fy: 'row',
              x1: 'from',
              x2: 'to',
              y1: () => 0,
              y2: () => 0.55,
              fill,
              stroke: 'currentColor',
              strokeOpacity: 0.5,
              ariaDescription: `mmap_lock: ${label}`,
            },
          ),
        ),
      ],
    }),
  };
}
