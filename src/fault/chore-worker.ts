/** Entry of a worker thread that does a chore while the guest runs: see {@link ChoreSpec}. */
import { workerData } from 'node:worker_threads';
import { counterRow } from '../measure/counters.js';
import { createDiscard } from '../memory/discard.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import type { Trap } from '../memory/trap.js';
import { openSource, type SourceSpec } from '../source/open-source.js';
import { changeAddressSpace, protectAndUnprotect } from './address-space-writer.js';
import {
  type ChoreEnd,
  type ChoreSpec,
  collapseComplete,
  discardAtRandom,
  prefetch,
} from './chores.js';
import { UNTIMED } from './fault-timing.js';
import { MEMORY_ERROR } from './outcome.js';
import { Pace } from './pace.js';
import { createResolver } from './resolver.js';
import { runWorker, type WorkerData } from './run-worker.js';
import { WorkerControl } from './worker-control.js';

export interface ChoreWorkerData extends WorkerData {
  readonly chore: ChoreSpec;
  readonly memory: GuestMemoryLayout;
  readonly source: SourceSpec;
  readonly trap: Trap | null;
  /** This thread's row in `counters`. */
  readonly row: number;
  readonly counters: SharedArrayBuffer;
}

const data = workerData as ChoreWorkerData;

/** Brought in by one call when nobody waits for it: worth a system call, short enough to wait for. */
const PREFETCH_BYTES = 65536;

function prepare(): () => ChoreEnd {
  const { chore, memory, trap } = data;
  const control = new WorkerControl(data.control);
  if (chore.kind === 'writer') {
    const write = chore.calls === 'mprotect' ? protectAndUnprotect : changeAddressSpace;
    return () => write(control, new Pace(control, chore.perSecond));
  }
  const counters = counterRow(data.counters, data.row);
  const resolver = createResolver({
    memory,
    source: openSource(data.source),
    uffds: trap?.uffds ?? null,
    strategy: 'no-slow-gup',
    around: Math.max(0, PREFETCH_BYTES / memory.unitBytes - 1),
    caller: 'prefetch',
    sleepers: trap !== null && !trap.marked,
    counters,
    timing: UNTIMED,
  });
  switch (chore.kind) {
    case 'prefetch':
      return () => prefetch(memory, chore.bytesPerSecond, resolver.resolve, counters, control);
    case 'discard': {
      const stopping = (): boolean => control.stopping;
      const bringIn = (unit: number): boolean => resolver.resolve(unit) !== MEMORY_ERROR;
      const discard = createDiscard({ memory, trap, stopping, bringIn });
      return () => discardAtRandom(memory, chore, discard, control);
    }
    case 'collapse':
      return () => collapseComplete(memory, trap, control);
  }
}

runWorker(data, prepare);
