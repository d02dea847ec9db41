import type { RunResult } from '../machine/run-result.js';
import { count, figure } from './figures.js';

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

/** A row as it is shown, in text and on a page. */
export function deliveryCells(row: DeliveryRow): string[] {
  return [
    row.label,
    count(row.faults),
    figure(row.p50Microseconds, 1),
    figure(row.p99Microseconds, 1),
    count(row.pagesPerSecond),
    figure(row.mmapLockAcquisitions, 2),
    figure(row.contextSwitches, 2),
    count(row.pagesVerified),
  ];
}
