import type { Figure } from '../../src/report/bench-result.js';
import { figureOf } from '../../src/report/figures.js';
import { type Network, nameOfNetwork } from '../../src/source/network-link.js';
import type { LeftOut, Subject } from './units-plan.js';

/**
 * What is measured of a unit: microseconds per page touched under dense and under sparse access, and
 * from an access that faults to the instruction after it.
 */
export const METRICS = ['dense', 'sparse', 'firstInstruction'] as const;
export type Metric = (typeof METRICS)[number];

/** The units of one kind of memory, compared. */
export interface UnitsRow {
  /** As after `--network`. */
  readonly network: string;
  readonly metric: Metric;
  readonly backing: string;
  /** In the order of {@link UnitsSummary.units}; null for a unit that this backing cannot have. */
  readonly figures: readonly (Figure | null)[];
  /** Null where there is nothing to choose from. */
  readonly best: Best | null;
}

export interface Best {
  /** The unit with the lowest median. */
  readonly unitBytes: number;
  /**
   * All that cannot be told from it, itself included, smallest first: their ranges overlap. Where
   * these are several, no best unit can be named.
   */
  readonly amongst: readonly number[];
  /** Its median over that of the smallest unit. */
  readonly ratio: number;
}

export interface UnitsSummary {
  readonly units: readonly number[];
  readonly networks: readonly Network[];
  readonly subjects: readonly Subject[];
  readonly leftOut: readonly LeftOut[];
  readonly rows: readonly UnitsRow[];
}

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
