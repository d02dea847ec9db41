import { _exit } from '../ffi/libc.js';
import { STATUS } from './exit-status.js';

/** What a signal ends; null where nothing is under way any more. */
let current: AbortController | null = null;

/**
 * Turns SIGINT and SIGTERM into an abort of `work`, so that it can close everything and report. A
 * second signal ends the process at once, and so does one that comes when the work is done, with a
 * result that is being written: never by the signal's default, for that would be another status.
 */
export async function interruptible<Result>(
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  current = controller;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.off(signal, interrupt);
    process.on(signal, interrupt);
  }
  try {
    return await work(controller.signal);
  } finally {
    current = null;
  }
}

function interrupt(): void {
  if (current === null || current.signal.aborted) {
    _exit(STATUS.failed);
  }
  current?.abort();
}
