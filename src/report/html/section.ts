import type { Markup } from './markup.js';

/** What of a bench is its own; the rest of its section is the same for all. */
export interface Section {
  /** What came out, in sentences. */
  readonly verdicts: readonly string[];
  /** Charts and tables. */
  readonly body: readonly (Markup | null)[];
  /** What was not measured, and why. */
  readonly notMeasured: readonly string[];
  /** Which measurements others on the machine disturbed. */
  readonly disturbed: readonly string[];
}
