import type { Figure } from './bench-result.js';

/** What is compared: the deliveries that have a loop of ours. */
export type Measured = 'exit' | 'handler';

/** One run in TypeScript and one in C, of the same guest on the same memory. */
export interface Pair {
  readonly delivery: Measured;
  readonly typescriptSeconds: number;
  readonly cSeconds: number;
  /** TypeScript over C. */
  readonly ratio: number;
  readonly userMicroseconds: number | null;
  readonly allocateMicroseconds: number | null;
  readonly resolveP50Microseconds: number | null;
  readonly pagesVerified: number;
  /** While the guest of the TypeScript ran; see `RunResult`. */
  readonly otherCpus: number | null;
}

export interface OverheadRow {
  readonly delivery: Measured;
  readonly pairs: number;
  readonly ratio: number | null;
  readonly lowest: number;
  readonly highest: number;
  /** TypeScript's time per fault in userspace, outside system calls. */
  readonly userMicroseconds: number | null;
  readonly allocateMicroseconds: number | null;
}

/** The ratio of a row as a figure; null where there was no pair. */
export function ratioOf({ ratio, lowest, highest, pairs }: OverheadRow): Figure | null {
  // Of no pairs, JSON has null for what is lowest and highest.
  return ratio !== null && pairs > 0 && Number.isFinite(lowest) && Number.isFinite(highest)
    ? { median: ratio, lowest, highest, runs: pairs }
    : null;
}
