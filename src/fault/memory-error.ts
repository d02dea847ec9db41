/**
 * Why a page's contents cannot be had:
 *
 * - `source`: its source could not supply them
 * - `allocate`: no memory could be had for them
 * - `map`: UFFDIO_CONTINUE or UFFDIO_COPY failed
 * - `populate`: mapped before, and MADV_POPULATE_WRITE could not bring it back (EHWPOISON, EFAULT, …)
 * - `protected`: mapped before, and somebody has write-protected it since, which nobody here does
 * - `repeated`: mapped before and missing again, under the strategy `no-uffd-wait`
 * - `asked`: it was to fail (`--poison`)
 */
export const MEMORY_ERROR_CAUSES = [
  'source',
  'allocate',
  'map',
  'populate',
  'repeated',
  'asked',
  'protected',
] as const;

export type MemoryErrorCause = (typeof MEMORY_ERROR_CAUSES)[number];

/** What a memory error is about. `errno` is 0 where no call failed. */
export interface MemoryFailure {
  unit: number;
  cause: MemoryErrorCause;
  errno: number;
}

const CAUSE_BITS = 4;
const CAUSE_MASK = (1 << CAUSE_BITS) - 1;

/** Cause and errno as the number that a poisoned unit's word keeps: the same for every thread. */
export function encodeReason(cause: MemoryErrorCause, errno: number): number {
  return MEMORY_ERROR_CAUSES.indexOf(cause) | (errno << CAUSE_BITS);
}

export function causeOf(reason: number): MemoryErrorCause {
  return MEMORY_ERROR_CAUSES[reason & CAUSE_MASK]!;
}

export function errnoOf(reason: number): number {
  return reason >> CAUSE_BITS;
}
