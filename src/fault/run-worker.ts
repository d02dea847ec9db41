import { GCProfiler, getHeapStatistics } from 'node:v8';
import { parentPort } from 'node:worker_threads';
import { DefectError, reportOf } from '../ffi/errors.js';
import { currentThreadId, pinCurrentThread } from '../ffi/thread.js';
import { type PerfEvents, ThreadPerfCounters } from '../measure/perf-counters.js';
import { WorkerControl, type WorkerMessage } from './worker-control.js';

/** What every worker is started with, besides its own part. */
export interface WorkerData {
  readonly control: SharedArrayBuffer;
  /** The CPU to run on, or null for any. */
  readonly cpu: number | null;
  readonly perf: PerfEvents;
}

/**
 * The life of a worker: see {@link WorkerControl}. Whatever is thrown is reported, which stops the
 * machine.
 *
 * @param prepare sets the thread up and gives its loop, which blocks until the worker's work is done
 * or it is told to stop, and says how it ended
 */
export function runWorker<End>(data: WorkerData, prepare: () => () => End): void {
  const port = parentPort;
  if (port === null) {
    throw new DefectError('a worker module was loaded outside a worker');
  }
  const post = (message: WorkerMessage<End>): void => port.postMessage(message);
  try {
    live(data, prepare, post);
  } catch (error) {
    post({ type: 'failed', report: reportOf(error) });
  }
  port.once('message', () => port.close());
}

function live<End>(
  data: WorkerData,
  prepare: () => () => End,
  post: (message: WorkerMessage<End>) => void,
): void {
  const control = new WorkerControl(data.control);
  if (control.stopping) {
    return; // while this code was loaded: the machine may be gone
  }
  const loop = prepare();
  if (data.cpu !== null) {
    pinCurrentThread(data.cpu);
  }
  // Leave nothing for the collector to finish while the loop runs, so that what it does is ours.
  (globalThis.gc as (options: object) => void)({ type: 'minor' });
  const collector = new GCProfiler();
  using perf = new ThreadPerfCounters(data.perf);
  const { descriptors, mappings } = perf;
  post({ type: 'ready', threadId: currentThreadId(), descriptors, mappings });
  control.waitForStart();

  const heapBytes = getHeapStatistics().used_heap_size;
  collector.start();
  perf.start();
  const began = Number(process.hrtime.bigint());
  const end = loop();
  const ended = Number(process.hrtime.bigint());
  const readings = perf.stop();
  const grownBytes = getHeapStatistics().used_heap_size - heapBytes;
  const heap = { collections: collector.stop().statistics.length, grownBytes };
  const lockTrace = perf.lockTrace();
  const faultRetries = perf.faultRetries();
  post({ type: 'finished', end, perf: readings, lockTrace, faultRetries, heap, began, ended });
}
