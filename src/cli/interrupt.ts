import { _exit } from '../ffi/libc.js';
import { STATUS } from './exit-status.js';

/** What a signal ends; null where nothing is under way any more. */
let current: AbortController | null = null;

/**
 * Turns SIGINT and SIGTERM into an abort of `work`, so that it can close everything and report. One
 * that comes when the work is done lets the result be written, and the process ends by itself. A
 * second signal ends it at once.
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

let signals = 0;

function interrupt(): void {
  signals++;
  if (signals > 1) {
    _exit(STATUS.failed);
  }
  current?.abort();
}
