import { _exit } from '../ffi/libc.js';
import { STATUS } from './exit-status.js';

/**
 * Turns SIGINT and SIGTERM into an abort for as long as `work` runs, so that it can report before
 * the process ends. A second signal ends the process at once.
 */
export async function interruptible<Result>(
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const abort = (): void => {
    if (controller.signal.aborted) {
      _exit(STATUS.failed);
    }
    controller.abort();
  };
  process.on('SIGINT', abort);
  process.on('SIGTERM', abort);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', abort);
    process.off('SIGTERM', abort);
  }
}
