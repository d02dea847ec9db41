/**
 * How a fault ended: a closed union, whose names are also the labels in every report.
 *
 * - `installed`: the page was filled and mapped
 * - `present`: somebody else had mapped it meanwhile; nothing to do
 * - `populated`: mapped before, taken away by the kernel, brought back by MADV_POPULATE_WRITE
 * - `remapped`: in the page cache all along, but the kernel had dropped the page table entry
 *   (collapse, reclaim); mapped again
 * - `retried`: nothing was resolved and nothing is wrong; the access is simply made again
 * - `memory-error`: its contents cannot be had
 */
export const OUTCOMES = [
  'installed',
  'present',
  'populated',
  'remapped',
  'retried',
  'memory-error',
] as const;

export type OutcomeName = (typeof OUTCOMES)[number];

/** Indexes into {@link OUTCOMES}: what the hot path passes about. */
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
