/** Entry of a handler worker thread. */
import { workerData } from 'node:worker_threads';
import { counterRow } from '../measure/counters.js';
import { histogramRow } from '../measure/histogram.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { openSource, type SourceSpec } from '../source/open-source.js';
import { createFaultTiming } from './fault-timing.js';
import { createHandlerLoop } from './handler-loop.js';
import { rehearse } from './rehearse.js';
import { createResolver, type Strategy } from './resolver.js';
import { runWorker, type WorkerData } from './run-worker.js';
import { WorkerControl } from './worker-control.js';

export interface HandlerWorkerData extends WorkerData {
  readonly memory: GuestMemoryLayout;
  readonly source: SourceSpec;
  readonly strategy: Strategy;
  readonly uffd: number;
  readonly stopEvent: number;
  /** This thread's row in `counters` and histogram in `histograms`. */
  readonly row: number;
  readonly counters: SharedArrayBuffer;
  readonly histograms: SharedArrayBuffer;
}

const data = workerData as HandlerWorkerData;
const { memory, uffd, stopEvent, strategy } = data;
const counters = counterRow(data.counters, data.row);
const histogram = histogramRow(data.histograms, data.row);
const timing = createFaultTiming(histogram, counters);
const source = openSource(data.source);
const caller = 'handler';
const resolver = createResolver({ memory, source, uffd, strategy, caller, counters, timing });

rehearse(source, timing, () => undefined, counters, histogram);
const control = new WorkerControl(data.control);
await runWorker(
  data,
  createHandlerLoop({ memory, uffd, stopEvent, resolver, control, counters, timing }),
);
