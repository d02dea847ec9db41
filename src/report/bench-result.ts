import type { HostDescription } from '../measure/host.js';

/** The JSON of a bench: schema `faultline.bench/1`. What is drawn is drawn from this alone. */
export interface BenchResult<Run = unknown, Summary = unknown> {
  readonly schema: 'faultline.bench/1';
  readonly bench: string;
  readonly host: HostDescription;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  /** How to do it again. */
  readonly command: string;
  /** What is the same in all runs. */
  readonly constant: Readonly<Record<string, string | number>>;
  readonly runs: readonly Run[];
  readonly summary: Summary;
}

/** Results of several benches, one after the other on one host: `faultline bench all`. */
export interface BenchSet {
  readonly schema: 'faultline.benches/1';
  readonly host: HostDescription;
  readonly startedAt: string;
  readonly command: string;
  readonly results: readonly BenchResult[];
  /** Benches that this host, or this installation, cannot do. */
  readonly leftOut?: readonly { readonly bench: string; readonly reason: string }[];
}

/** One figure over the repetitions of a run. */
export interface Figure {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
  /** Repetitions. */
  readonly runs: number;
}

/**
 * A log2 histogram of times: bucket k holds those from `fromMicroseconds[k]` to the next one, each
 * bound twice the one before. Empty buckets at either end are left out.
 */
export interface LatencyHistogram {
  readonly fromMicroseconds: readonly number[];
  readonly counts: readonly number[];
}
