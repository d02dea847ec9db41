import type { DeliveryName } from '../machine/delivery.js';
import type { RunResult } from '../machine/run-result.js';
import type { BackingName } from '../memory/backing.js';
import type { Network } from '../source/network-link.js';
import type { Figure } from './bench-result.js';

/**
 * What the guest does: touches every page in the order of addresses, or one page of many in a random
 * order, so that most of what a large unit brings in is for nothing.
 */
export const ACCESSES = ['dense', 'sparse'] as const;
export type Access = (typeof ACCESSES)[number];

/** A kind of memory that is measured, with those of the units that it can have. */
export interface Subject {
  readonly backing: BackingName;
  readonly delivery: DeliveryName;
  readonly units: readonly number[];
  /** Why it cannot have the others; null where there are none. */
  readonly refusal: string | null;
  /** The most guest RAM a run may have. */
  readonly roomBytes: number;
}

/** What could not be measured, and why. */
export interface LeftOut {
  readonly backing: BackingName;
  readonly reason: string;
}

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

/** A run, and what the guest did in it. Its `config` says the rest. */
export interface UnitRun extends RunResult {
  readonly access: Access;
}
