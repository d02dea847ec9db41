/** Entry of a vCPU worker thread. */
import { parentPort, workerData } from 'node:worker_threads';
import type { AroundPolicy } from '../fault/around.js';
import { createFaultTiming } from '../fault/fault-timing.js';
import { rehearse } from '../fault/rehearse.js';
import { createResolver, type Strategy } from '../fault/resolver.js';
import { runWorker, type WorkerData } from '../fault/run-worker.js';
import { createTrapReader } from '../fault/trap-marker.js';
import { type ConsoleMessage, WorkerControl } from '../fault/worker-control.js';
import { ioctl } from '../ffi/libc.js';
import { blockVcpuSignals } from '../ffi/thread.js';
import { RunPage } from '../kvm/run-page.js';
import { counterRow } from '../measure/counters.js';
import { threadHistograms } from '../measure/histogram.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import type { Trap } from '../memory/trap.js';
import { openRehearsalSource, openSource, type SourceSpec } from '../source/open-source.js';
import { KVM_RUN } from '../uapi/kvm.js';
import { createGuestPorts } from './guest-ports.js';
import { createRunLoop, type VcpuEnd } from './run-loop.js';

export interface VcpuWorkerData extends WorkerData {
  readonly vcpu: number;
  readonly runPageAddress: number;
  readonly runPageBytes: number;
  readonly memory: GuestMemoryLayout;
  readonly source: SourceSpec;
  readonly strategy: Strategy;
  readonly around: AroundPolicy;
  /** Exit delivery, in which this thread resolves its own faults: how missing pages are trapped. */
  readonly trap: Trap | null;
  /** This thread's row in `counters` and histograms in `histograms`. */
  readonly row: number;
  readonly counters: SharedArrayBuffer;
  readonly histograms: SharedArrayBuffer;
}

/** How the vCPU ended, and what its guest reported. */
export interface VcpuWorkerEnd {
  readonly vcpu: VcpuEnd;
  readonly report: Uint32Array;
}

const data = workerData as VcpuWorkerData;

function prepare(): () => VcpuWorkerEnd {
  const { memory, vcpu, strategy, around, trap } = data;
  blockVcpuSignals();
  const counters = counterRow(data.counters, data.row);
  const histograms = threadHistograms(data.histograms, data.row);
  const timing = createFaultTiming(histograms);
  const traps = createTrapReader(memory);
  const source = openSource(data.source);
  const resolver = createResolver({
    memory,
    source,
    uffd: trap?.uffd ?? -1,
    strategy,
    around: trap === null ? 0 : around,
    caller: 'vcpu',
    sleepers: false,
    counters,
    timing,
  });
  const page = new RunPage(data.runPageAddress, data.runPageBytes);
  const control = new WorkerControl(data.control);
  const ports = createGuestPorts((text) => {
    parentPort?.postMessage({ type: 'console', text } satisfies ConsoleMessage);
  });
  const run = createRunLoop({
    enter: () => ioctl(vcpu, KVM_RUN, 0),
    page,
    memory,
    resolver,
    ports,
    traps,
    control,
    counters,
    timing,
    trap,
  });
  if (trap !== null) {
    rehearse(openRehearsalSource(data.source), timing, traps.take, histograms);
  }
  return () => ({ vcpu: run(), report: ports.report });
}

await runWorker(data, prepare);
