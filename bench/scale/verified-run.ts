import { GuestError, InterruptedError, UnsupportedError } from '../../src/ffi/errors.js';
import { WORKLOAD_START } from '../../src/machine/guest-physical-map.js';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { RunResult } from '../../src/machine/run-result.js';

/** Guest RAM that holds `pages` pages of workload: a multiple of every fault unit. */
export function memoryFor(pages: number): number {
  const step = 2 ** 21;
  return Math.max(2, Math.ceil((WORKLOAD_START + pages * 4096) / step)) * step;
}

/**
 * A run whose memory has verified.
 *
 * @throws GuestError for any other: a bench that cannot verify its own work has no result
 */
export async function verifiedRun(options: RunOptions): Promise<RunResult> {
  const result = await runGuest(options);
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
  return result;
}
