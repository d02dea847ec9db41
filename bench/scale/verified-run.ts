import {
  DefectError,
  GuestError,
  InterruptedError,
  UnsupportedError,
} from '../../src/ffi/errors.js';
import { WORKLOAD_START } from '../../src/machine/guest-physical-map.js';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { findContradiction } from './contradiction.js';

/** Guest RAM that holds `pages` pages of workload: a multiple of every fault unit. */
export function memoryFor(pages: number): number {
  const step = 2 ** 21;
  return Math.max(2, Math.ceil((WORKLOAD_START + pages * 4096) / step)) * step;
}

/**
 * A run whose memory has verified, and whose figures agree with each other.
 *
 * @param run does it
 * @throws GuestError for one that did not verify: a bench that cannot verify its own work has no result
 * @throws DefectError for one whose counters contradict each other: they were counted wrongly
 */
export async function verifiedRun(
  options: RunOptions,
  run: (options: RunOptions) => Promise<RunResult> = runGuest,
): Promise<RunResult> {
  const result = await run(options);
  if (result.error?.code === 'interrupted') {
    throw new InterruptedError('the bench was interrupted');
  }
  if (result.outcome !== 'completed') {
    throw new GuestError(
      `a run under delivery ${result.delivery.used} ended as ${result.outcome}: ${result.error?.message ?? ''}`,
      result.error?.hint,
    );
  }
  if (result.pages.verified === null || result.pages.verified !== result.pages.touched) {
    throw new UnsupportedError('a bench needs a guest whose memory can be verified', 'Use touch.');
  }
  const contradiction = findContradiction(result);
  if (contradiction !== null) {
    throw new DefectError(
      `the counters of a run under delivery ${result.delivery.used} contradict each other: ${contradiction}`,
    );
  }
  return result;
}
