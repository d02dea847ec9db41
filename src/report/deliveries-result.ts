import type { RunResult } from '../machine/run-result.js';

/** A row of the table: times are medians over the repetitions, counts those of the run that counted. */
export interface DeliveryRow {
  readonly label: string;
  readonly faults: number | null;
  readonly p50Microseconds: number | null;
  readonly p99Microseconds: number | null;
  readonly pagesPerSecond: number | null;
  readonly mmapLockAcquisitions: number | null;
  readonly contextSwitches: number | null;
  /** In each run; the fewest, should they differ. */
  readonly pagesVerified: number;
}

/** A run, and which row it belongs to. */
export interface LabelledRun extends RunResult {
  readonly label: string;
  /** Kernel events were counted in it, so its times are not used. */
  readonly counted: boolean;
}
