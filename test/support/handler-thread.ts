/** A handler loop in a thread of its own, for tests: like handler-worker.ts, but with any resolver. */
import { parentPort, workerData } from 'node:worker_threads';
import { createFaultTiming } from '../../src/fault/fault-timing.js';
import { createHandlerLoop } from '../../src/fault/handler-loop.js';
import { RETRIED } from '../../src/fault/outcome.js';
import { createResolver, type Resolver } from '../../src/fault/resolver.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { counterRow } from '../../src/measure/counters.js';
import { allocateHistograms, threadHistograms } from '../../src/measure/histogram.js';
import type { GuestMemoryLayout } from '../../src/memory/guest-memory.js';
import type { PageSource } from '../../src/source/page-source.js';
import { oneShare } from './one-share.js';
import { SOURCE } from './trapped-memory.js';

export interface HandlerThreadData {
  readonly memory: GuestMemoryLayout;
  readonly uffd: number;
  readonly stopEvent: number;
  readonly counters: SharedArrayBuffer;
  /** `none`: the source fails; `retry`: the resolver says RETRIED once, as for EAGAIN. */
  readonly trouble?: 'none' | 'retry';
  /** Of a {@link WorkerControl}; one that nobody starts or stops unless given. */
  readonly control?: SharedArrayBuffer;
}

const { memory, uffd, stopEvent, trouble, ...data } = workerData as HandlerThreadData;
const counters = counterRow(data.counters, 0);
const timing = createFaultTiming(threadHistograms(allocateHistograms(1), 0));
const source: PageSource = trouble === 'none' ? { fill: () => false, compare: () => -1 } : SOURCE;
let resolver = createResolver({
  memory,
  source,
  uffds: oneShare(uffd),
  strategy: 'no-slow-gup',
  around: 0,
  caller: 'handler',
  sleepers: true,
  counters,
  timing,
});
if (trouble === 'retry') {
  resolver = retryOnce(resolver);
}

parentPort!.postMessage(
  createHandlerLoop({
    memory,
    uffds: [uffd],
    stopEvent,
    resolver,
    poison: () => false,
    control: new WorkerControl(data.control),
    counters,
    timing,
  })(),
);

function retryOnce({ resolve, failure }: Resolver): Resolver {
  let retried = false;
  return {
    failure,
    resolve: (unit) => {
      if (retried) {
        return resolve(unit);
      }
      retried = true;
      return RETRIED;
    },
  };
}
