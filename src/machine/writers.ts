import { WRITER_CALLS, type WriterCalls } from '../fault/address-space-writer.js';
import { UsageError } from '../ffi/errors.js';

/** Threads that change the address space elsewhere while the guest runs. */
export interface Writers {
  /** 1 to 64. */
  readonly threads: number;
  /** mmap, munmap, mprotect and MADV_DONTNEED that each of them makes, one after another. */
  readonly perSecond: number;
  readonly calls: WriterCalls;
}

export const MAX_WRITERS = 64;
export const DEFAULT_WRITES_PER_SECOND = 2000;
/** Above what a thread can make. */
const MOST_WRITES_PER_SECOND = 1e6;

/**
 * Null where there are none.
 *
 * @throws UsageError for what cannot be meant
 */
export function checkWriters(writers: Writers | null): Writers | null {
  if (writers === null || writers.threads === 0) {
    return null;
  }
  const { threads, perSecond, calls } = writers;
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_WRITERS) {
    throw new UsageError(`--writers ${threads} is not a whole number from 0 to ${MAX_WRITERS}`);
  }
  if (!(perSecond > 0 && perSecond <= MOST_WRITES_PER_SECOND)) {
    throw new UsageError(
      `--writer-rate ${perSecond} is not above 0 and up to ${MOST_WRITES_PER_SECOND} a second`,
    );
  }
  if (!WRITER_CALLS.includes(calls)) {
    throw new UsageError(`--writer-calls ${calls} is none of ${WRITER_CALLS.join(', ')}`);
  }
  return { threads, perSecond, calls };
}

/**
 * Those of `--writers`, `--writer-rate` and `--writer-calls`.
 *
 * @param perSecond the default where it was not given
 * @throws UsageError for a rate of no writers
 */
export function writersOf(
  threads: number,
  perSecond: number | undefined,
  calls: WriterCalls = 'mixed',
): Writers | null {
  if (threads > 0) {
    return { threads, perSecond: perSecond ?? DEFAULT_WRITES_PER_SECOND, calls };
  }
  if (perSecond !== undefined) {
    throw new UsageError('--writer-rate says nothing without writers', 'Add --writers 2.');
  }
  return null;
}
