import { _exit } from '../ffi/libc.js';
import { STATUS } from './exit-status.js';
import { restoreTerminal } from './typed-input.js';

/** SIGHUP, too: a terminal in raw mode is given back, and what was measured is not lost. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** What a signal ends; null where nothing is under way any more. */
let current: AbortController | null = null;

/**
 * Turns SIGINT, SIGTERM and SIGHUP into an abort of `work`, so that it can close everything and report. One
 * that comes when the work is done lets the result be written, and the process ends by itself. A
 * second signal ends it at once.
 */
export async function interruptible<Result>(
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  current = controller;
  for (const signal of SIGNALS) {
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

/** What a signal does; also Ctrl-A x, where Ctrl-C is the guest's. */
export function interrupt(): void {
  signals++;
  if (signals > 1) {
    restoreTerminal();
    _exit(STATUS.failed);
  }
  current?.abort();
}
