/** How a fault ended; what the names mean is said beside {@link OUTCOMES}. */
export { OUTCOMES, type OutcomeName } from '../measure/counters.js';

/** Indexes into `OUTCOMES`: what the hot path passes about. */
export const INSTALLED = 0;
export const PRESENT = 1;
export const POPULATED = 2;
export const REMAPPED = 3;
export const RETRIED = 4;
export const MEMORY_ERROR = 5;

export type Outcome =
  | typeof INSTALLED
  | typeof PRESENT
  | typeof POPULATED
  | typeof REMAPPED
  | typeof RETRIED
  | typeof MEMORY_ERROR;
