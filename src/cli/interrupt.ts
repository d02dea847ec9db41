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

/**
 * What comes so soon after the first is the same wish. npx passes Ctrl-C on to a process that the
 * terminal has told already, and timeout(1) tells its child, then its process group.
 */
const SAME_MILLISECONDS = 200;

/** When the first came; null before that. */
let firstAt: number | null = null;

/** What a signal does; also Ctrl-A x, where Ctrl-C is the guest's. */
export function interrupt(): void {
  if (firstAt === null) {
    firstAt = performance.now();
    current?.abort();
  } else if (performance.now() - firstAt > SAME_MILLISECONDS) {
    restoreTerminal();
    _exit(STATUS.failed);
  }
}
