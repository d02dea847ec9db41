/** Entry of a vCPU worker thread. */
import { parentPort, workerData } from 'node:worker_threads';
import type { AroundPolicy } from '../fault/around.js';
import { createFaultTiming } from '../fault/fault-timing.js';
import { rehearse } from '../fault/rehearse.js';
import { createResolver } from '../fault/resolver.js';
import { createBystander, type Strategy } from '../fault/revisit.js';
import { runWorker, type WorkerData } from '../fault/run-worker.js';
import { createTrapReader } from '../fault/trap-marker.js';
import { createWake } from '../fault/wake.js';
import { type ConsoleMessage, type SerialMessage, WorkerControl } from '../fault/worker-control.js';
import { ioctl } from '../ffi/libc.js';
import { blockVcpuSignals } from '../ffi/thread.js';
import { interruptLine } from '../kvm/interrupt-line.js';
import type { MachineCheckVendor } from '../kvm/machine-check.js';
import { RunPage } from '../kvm/run-page.js';
import { counterRow, MESSAGES } from '../measure/counters.js';
import { threadHistograms } from '../measure/histogram.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import type { Trap } from '../memory/trap.js';
import { openRehearsalSource, openSource, type SourceSpec } from '../source/open-source.js';
import { KVM_RUN } from '../uapi/kvm.js';
import { ConsoleFlow } from './console-flow.js';
import { createFirmwarePorts } from './firmware-ports.js';
import { createGuestPorts } from './guest-ports.js';
import { createMemoryErrors, type MemoryErrorRecord } from './memory-errors.js';
import { COM1_INTERRUPT, createPcPorts, type PcData } from './pc-ports.js';
import type { Ports } from './ports.js';
import { createRunLoop, type VcpuEnd } from './run-loop.js';
import type { UartWiring } from './uart.js';

export interface VcpuWorkerData extends WorkerData {
  readonly vcpu: number;
  readonly runPageAddress: number;
  readonly runPageBytes: number;
  readonly memory: GuestMemoryLayout;
  readonly source: SourceSpec;
  readonly strategy: Strategy;
  readonly around: AroundPolicy;
  /** How missing pages are trapped: where they end KVM_RUN, this thread resolves its own faults. */
  readonly trap: Trap | null;
  /** Whose machine checks the guest is told of memory errors by; null: they stop the run. */
  readonly machineChecks: MachineCheckVendor | null;
  /** This thread's row in `counters` and histograms in `histograms`. */
  readonly row: number;
  /** The devices of a PC; null for a guest that has its own ports of ours. */
  readonly pc: PcData | null;
  /** Of a {@link ConsoleFlow}. */
  readonly consoleFlow: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly histograms: SharedArrayBuffer;
}

/** How the vCPU ended, and what its guest reported. */
export interface VcpuWorkerEnd {
  readonly vcpu: VcpuEnd;
  readonly report: Uint32Array;
  /** Memory errors that it met, and the first of them. */
  readonly memoryErrors: number;
  readonly memoryErrorRecords: readonly MemoryErrorRecord[];
}

const data = workerData as VcpuWorkerData;

const OUTPUT: SerialMessage = { type: 'serial', what: 'output' };
const ROOM: SerialMessage = { type: 'serial', what: 'room' };

function prepare(): () => VcpuWorkerEnd {
  const { memory, vcpu, strategy, around } = data;
  const trap = data.trap?.exits ? data.trap : null;
  blockVcpuSignals();
  const counters = counterRow(data.counters, data.row);
  const histograms = threadHistograms(data.histograms, data.row);
  const timing = createFaultTiming(histograms);
  const traps = createTrapReader(memory);
  const sleepers = data.trap !== null && !data.trap.marked;
  const wake = createWake(memory, sleepers ? data.trap.uffds : null, counters);
  const resolver =
    trap === null
      ? createBystander({ memory, strategy, sleepers, counters, wake })
      : createResolver({
          memory,
          source: openSource(data.source),
          uffds: trap.uffds,
          strategy,
          around,
          caller: 'vcpu',
          sleepers,
          counters,
          timing,
        });
  const memoryErrors = createMemoryErrors(vcpu, data.machineChecks, memory);
  const page = new RunPage(data.runPageAddress, data.runPageBytes);
  const control = new WorkerControl(data.control);
  const flow = new ConsoleFlow(data.consoleFlow);
  const post = (message: ConsoleMessage | SerialMessage): void => {
    counters[MESSAGES]! += 1;
    parentPort?.postMessage(message);
  };
  const stopping = (): boolean => control.stopping;
  const write = (text: string): void => {
    post({ type: 'console', text });
    flow.sent(text.length, stopping);
  };
  const wiring: UartWiring = {
    setLine: data.pc === null ? () => undefined : interruptLine(data.pc.vm, COM1_INTERRUPT),
    tell: (what) => post(what === 'output' ? OUTPUT : ROOM),
    stopping,
  };
  const ports = data.pc === null ? createGuestPorts(write) : portsOfPc(data.pc, wiring, write);
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
    memoryErrors,
    wake,
    trap,
  });
  if (trap !== null) {
    rehearse(openRehearsalSource(data.source), timing, traps.take, histograms);
  }
  return () => ({
    vcpu: run(),
    report: ports.report,
    memoryErrors: memoryErrors.count(),
    memoryErrorRecords: memoryErrors.records,
  });
}

/** @param write receives the debug port's output, which is not the UART's */
function portsOfPc(pc: PcData, wiring: UartWiring, write: (text: string) => void): Ports {
  const ports = createPcPorts(pc, wiring);
  return pc.firmware === null ? ports : createFirmwarePorts(ports, write, pc.firmware);
}

runWorker(data, prepare);
