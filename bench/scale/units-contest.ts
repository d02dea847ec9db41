import { median } from '../../src/report/figures.js';
import {
  METRICS,
  type Metric,
  type UnitsRow,
  type UnitsSummary,
} from '../../src/report/units-result.js';
import { type Network, nameOfNetwork } from '../../src/source/network-link.js';

/** The smallest and the largest unit over one network, all backings together that can have both. */
export interface Contest {
  readonly network: Network;
  /** Time with the largest unit over that with the smallest, the median over the backings. */
  readonly ratios: Readonly<Record<Metric, number>>;
  /** The unit that is nearest to the best of each metric in the metric it is worst at. */
  readonly compromise: Loss;
  readonly smallest: Loss;
  readonly largest: Loss;
}

/** How many times as long as with the best unit something takes, at the metric where that is most. */
export interface Loss {
  readonly unitBytes: number;
  readonly factor: number;
  readonly metric: Metric;
}

/** Null where no backing can have more than one of the units. */
export function contestOver({ units, rows }: UnitsSummary, network: Network): Contest | null {
  const rivals = rows.filter(
    (row) =>
      row.network === nameOfNetwork(network) && row.figures.every((figure) => figure !== null),
  );
  if (units.length < 2 || rivals.length === 0) {
    return null;
  }
  const losses = units.map((unitBytes, index) => lossOf(unitBytes, index, rivals));
  const ratio = (metric: Metric): number =>
    middle(rivals, metric, ({ figures }) => figures.at(-1)!.median / figures[0]!.median);
  return {
    network,
    ratios: {
      dense: ratio('dense'),
      sparse: ratio('sparse'),
      firstInstruction: ratio('firstInstruction'),
    },
    compromise: losses.reduce((a, b) => (b.factor < a.factor ? b : a)),
    smallest: losses[0]!,
    largest: losses.at(-1)!,
  };
}

function lossOf(unitBytes: number, index: number, rivals: readonly UnitsRow[]): Loss {
  const losses = METRICS.map((metric) => ({
    unitBytes,
    metric,
    factor: middle(rivals, metric, ({ figures }) => {
      const best = Math.min(...figures.map((figure) => figure!.median));
      return figures[index]!.median / best;
    }),
  }));
  return losses.reduce((a, b) => (b.factor > a.factor ? b : a));
}

function middle(
  rows: readonly UnitsRow[],
  metric: Metric,
  pick: (row: UnitsRow) => number,
): number {
  return median(rows.filter((row) => row.metric === metric).map(pick)) ?? Number.NaN;
}
