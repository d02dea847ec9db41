import type { Figure } from '../../src/report/bench-result.js';
import { figureOf } from '../../src/report/figures.js';
import {
  type Best,
  METRICS,
  type Metric,
  type UnitsRow,
  type UnitsSummary,
} from '../../src/report/units-result.js';
import { nameOfNetwork } from '../../src/source/network-link.js';

/** Microseconds of one run. */
export interface Sample {
  readonly network: string;
  readonly metric: Metric;
  readonly backing: string;
  readonly unitBytes: number;
  readonly microseconds: number;
}

export function compareUnits(
  { units, networks, subjects, leftOut }: Omit<UnitsSummary, 'rows'>,
  samples: readonly Sample[],
): UnitsSummary {
  const rows = networks.map(nameOfNetwork).flatMap((network) =>
    METRICS.flatMap((metric) =>
      subjects.map(({ backing }): UnitsRow => {
        const mine = samples.filter(
          (sample) =>
            sample.network === network && sample.metric === metric && sample.backing === backing,
        );
        const figures = units.map((unitBytes) =>
          figureOf(
            mine
              .filter((sample) => sample.unitBytes === unitBytes)
              .map(({ microseconds }) => microseconds),
          ),
        );
        return { network, metric, backing, figures, best: bestOf(units, figures) };
      }),
    ),
  );
  return { units, networks, subjects, leftOut, rows };
}

function bestOf(units: readonly number[], figures: readonly (Figure | null)[]): Best | null {
  const known = figures.flatMap((figure, index) =>
    figure === null ? [] : [{ unitBytes: units[index]!, figure }],
  );
  const [smallest] = known;
  if (smallest === undefined || known.length < 2) {
    return null;
  }
  const best = known.reduce((a, b) => (b.figure.median < a.figure.median ? b : a));
  return {
    unitBytes: best.unitBytes,
    amongst: known
      .filter(({ figure }) => figure.lowest <= best.figure.highest)
      .map(({ unitBytes }) => unitBytes),
    ratio: best.figure.median / smallest.figure.median,
  };
}
