/**
 * The shared word that starts and stops workers, and what they tell the main thread. A worker says
 * `ready`, waits until all may go, runs, says `finished` (or `failed`), and then stays until it is told to leave:
 * its thread id therefore stays valid for as long as the main thread may want to kick it.
 */
import type { ErrorReport } from '../ffi/errors.js';
import type { Measured } from '../measure/measured.js';
import type { PerfReadings } from '../measure/perf-counters.js';
import type { LockTraceReading } from '../measure/thread-lock-trace.js';

const WAITING = 0;
const RUNNING = 1;
/** Told to stop before they were started. */
const CANCELLED = 2;
const STOPPING = 3;

export class WorkerControl {
  readonly buffer: SharedArrayBuffer;
  private readonly word: Int32Array;

  constructor(buffer = new SharedArrayBuffer(4)) {
    this.buffer = buffer;
    this.word = new Int32Array(buffer);
  }

  /** Lets the workers go. */
  start(): void {
    Atomics.compareExchange(this.word, 0, WAITING, RUNNING);
    Atomics.notify(this.word, 0);
  }

  /** Tells them to stop, also those that have not started. */
  stop(): void {
    if (Atomics.compareExchange(this.word, 0, WAITING, CANCELLED) === RUNNING) {
      Atomics.store(this.word, 0, STOPPING);
    }
    Atomics.notify(this.word, 0);
  }

  /** Sleeps, unless told to stop meanwhile. */
  sleep(milliseconds: number): void {
    if (milliseconds > 0) {
      Atomics.wait(this.word, 0, RUNNING, milliseconds);
    }
  }

  get stopping(): boolean {
    return Atomics.load(this.word, 0) >= CANCELLED;
  }

  /** Whether they were told to stop before they were started: no guest has run. */
  get cancelled(): boolean {
    return Atomics.load(this.word, 0) === CANCELLED;
  }

  /** Sleeps until `start` or `stop`. */
  waitForStart(): void {
    while (Atomics.load(this.word, 0) === WAITING) {
      Atomics.wait(this.word, 0, WAITING);
    }
  }
}

/** What the garbage collector did in a worker while it ran: the hot path gives it nothing to do. */
export interface HeapUse {
  readonly collections: number;
  readonly grownBytes: number;
}

export interface ReadyMessage {
  readonly type: 'ready';
  readonly threadId: number;
  /** Closed by the worker, unless it dies before it comes to that. */
  readonly descriptors: readonly number[];
  /** Unmapped by the worker, unless likewise. */
  readonly mappings: readonly { readonly address: number; readonly bytes: number }[];
}

export interface ConsoleMessage {
  readonly type: 'console';
  readonly text: string;
}

/** Of a PC's serial line: it has output, or room for input again. */
export interface SerialMessage {
  readonly type: 'serial';
  readonly what: 'output' | 'room';
}

/** Something was thrown: a report, for an error loses its class between threads. */
export interface FailedMessage {
  readonly type: 'failed';
  readonly report: ErrorReport;
}

export interface FinishedMessage<End> {
  readonly type: 'finished';
  readonly end: End;
  readonly perf: PerfReadings;
  readonly lockTrace: LockTraceReading;
  readonly faultRetries: Measured;
  readonly heap: HeapUse;
  /** Nanoseconds of CLOCK_MONOTONIC, the same in every thread, around its loop. */
  readonly began: number;
  readonly ended: number;
}

export type WorkerMessage<End> =
  | ReadyMessage
  | ConsoleMessage
  | SerialMessage
  | FailedMessage
  | FinishedMessage<End>;
