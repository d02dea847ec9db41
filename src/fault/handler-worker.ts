/** Entry of a handler worker thread. */
import { workerData } from 'node:worker_threads';
import { counterRow } from '../measure/counters.js';
import { threadHistograms } from '../measure/histogram.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { poisonUnit, type Trap } from '../memory/trap.js';
import { openRehearsalSource, openSource, type SourceSpec } from '../source/open-source.js';
import type { AroundPolicy } from './around.js';
import { createFaultTiming } from './fault-timing.js';
import { createHandlerLoop, type HandlerEnd } from './handler-loop.js';
import { rehearse } from './rehearse.js';
import { createResolver } from './resolver.js';
import type { Strategy } from './revisit.js';
import { runWorker, type WorkerData } from './run-worker.js';
import { WorkerControl } from './worker-control.js';

export interface HandlerWorkerData extends WorkerData {
  readonly memory: GuestMemoryLayout;
  readonly source: SourceSpec;
  readonly strategy: Strategy;
  readonly around: AroundPolicy;
  readonly trap: Trap;
  readonly stopEvent: number;
  /** This thread's row in `counters` and histograms in `histograms`. */
  readonly row: number;
  readonly counters: SharedArrayBuffer;
  readonly histograms: SharedArrayBuffer;
}

const data = workerData as HandlerWorkerData;

function prepare(): () => HandlerEnd {
  const { memory, trap, stopEvent, strategy, around } = data;
  const { uffd } = trap;
  const counters = counterRow(data.counters, data.row);
  const histograms = threadHistograms(data.histograms, data.row);
  const timing = createFaultTiming(histograms);
  const source = openSource(data.source);
  const resolver = createResolver({
    memory,
    source,
    uffd,
    strategy,
    around,
    caller: 'handler',
    sleepers: true,
    counters,
    timing,
  });
  const control = new WorkerControl(data.control);
  rehearse(openRehearsalSource(data.source), timing, () => undefined, histograms);
  return createHandlerLoop({
    memory,
    uffd,
    stopEvent,
    resolver,
    poison: (unit) => poisonUnit(memory, trap, unit),
    control,
    counters,
    timing,
  });
}

runWorker(data, prepare);
