import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';
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
export async function runWorker<End>(data: WorkerData, prepare: () => () => End): Promise<void> {
  const port = parentPort;
  if (port === null) {
    throw new DefectError('a worker module was loaded outside a worker');
  }
  const post = (message: WorkerMessage<End>): void => port.postMessage(message);
  try {
    await live(data, prepare, post);
  } catch (error) {
    post({ type: 'failed', report: reportOf(error) });
  }
  port.once('message', () => port.close());
}

async function live<End>(
  data: WorkerData,
  prepare: () => () => End,
  post: (message: WorkerMessage<End>) => void,
): Promise<void> {
  const control = new WorkerControl(data.control);
  if (control.stopping) {
    return; // while this code was loaded: the machine may be gone
  }
  const loop = prepare();
  if (data.cpu !== null) {
    pinCurrentThread(data.cpu);
  }
  // Leave nothing for the collector to finish while the loop runs, so that what it does is ours.
  (globalThis.gc as () => void)();
  let collections = 0;
  const observer = new PerformanceObserver((list) => {
    collections += list.getEntries().length;
  });
  observer.observe({ entryTypes: ['gc'] });
  using perf = new ThreadPerfCounters(data.perf);
  post({ type: 'ready', threadId: currentThreadId(), descriptors: perf.descriptors });
  control.waitForStart();

  const heapBytes = getHeapStatistics().used_heap_size;
  perf.start();
  const began = Number(process.hrtime.bigint());
  const end = loop();
  const ended = Number(process.hrtime.bigint());
  const readings = perf.stop();
  const grownBytes = getHeapStatistics().used_heap_size - heapBytes;

  // Collections are reported through the event loop, which the loop has kept from turning.
  await setImmediate();
  await setImmediate();
  observer.disconnect();
  const heap = { collections, grownBytes };
  post({ type: 'finished', end, perf: readings, heap, began, ended });
}
