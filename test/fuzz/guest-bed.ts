/**
 * Runs guests in this thread, one after the other: a machine as `runGuest` builds it and the run
 * loop of a vCPU, without a worker for each, which would cost ten times as much.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { createFaultTiming } from '../../src/fault/fault-timing.js';
import { createResolver } from '../../src/fault/resolver.js';
import { createBystander } from '../../src/fault/revisit.js';
import { createTrapReader } from '../../src/fault/trap-marker.js';
import { createWake } from '../../src/fault/wake.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { ioctl } from '../../src/ffi/libc.js';
import { blockVcpuSignals, currentThreadId } from '../../src/ffi/thread.js';
import { interruptLine } from '../../src/kvm/interrupt-line.js';
import { RunPage } from '../../src/kvm/run-page.js';
import type { Crew } from '../../src/machine/crew.js';
import { failureOf } from '../../src/machine/explain-end.js';
import { Machine } from '../../src/machine/machine.js';
import { completeConfig, type RunOptions } from '../../src/machine/machine-config.js';
import type { RunError } from '../../src/machine/run-result.js';
import { COUNTER_ROW_BYTES, counterRow } from '../../src/measure/counters.js';
import { allocateHistograms, threadHistograms } from '../../src/measure/histogram.js';
import type { PerfReadings } from '../../src/measure/perf-counters.js';
import { openSource } from '../../src/source/open-source.js';
import { KVM_RUN } from '../../src/uapi/kvm.js';
import { createFirmwarePorts } from '../../src/vcpu/firmware-ports.js';
import { createGuestPorts } from '../../src/vcpu/guest-ports.js';
import { createMemoryErrors } from '../../src/vcpu/memory-errors.js';
import { COM1_INTERRUPT, createPcPorts } from '../../src/vcpu/pc-ports.js';
import type { Ports } from '../../src/vcpu/ports.js';
import { createRunLoop, type VcpuEnd } from '../../src/vcpu/run-loop.js';
import { checkEnd, checkStates } from './guest-checks.js';
import { IDLE, type KickThreadData, RUNNING } from './kick-states.js';

/** A guest that has not ended by itself then is stopped. */
const RUN_MILLISECONDS = 10;
/** One that will, unless something is wrong. */
export const LONG_MILLISECONDS = 10_000;
/** From the first kick to the end of KVM_RUN, on a machine that others use too. */
const STOP_MILLISECONDS = 2000;
export const MEMORY_BYTES = 4 * 2 ** 20;

export interface GuestEnd {
  readonly end: VcpuEnd;
  readonly error: RunError | null;
  readonly report: readonly number[];
  readonly console: string;
  /** What `summarize` is told of the crew. */
  readonly crew: Crew;
}

const NOT_COUNTED = { value: null, why: 'not counted here' } as const;
const NO_READINGS: PerfReadings = {
  pageFaults: 0,
  mmapLockAcquisitions: NOT_COUNTED,
  mmapLockWrites: NOT_COUNTED,
  mmapLockFailed: NOT_COUNTED,
  contextSwitches: NOT_COUNTED,
  kvmExits: NOT_COUNTED,
  calls: { slowGup: NOT_COUNTED, userfaults: NOT_COUNTED },
};

/** As in a vCPU's worker. */
function portsOf({ pc }: Machine, write: (text: string) => void): Ports {
  if (pc === null) {
    return createGuestPorts(write);
  }
  const { vm, firmware } = pc.forVcpus;
  pc.readBy(write);
  const ports = createPcPorts(pc.forVcpus, {
    setLine: interruptLine(vm, COM1_INTERRUPT),
    tell: () => undefined,
    stopping: () => true, // nobody takes what it writes before it has ended
  });
  return firmware === null ? ports : createFirmwarePorts(ports, write, firmware);
}

export class GuestBed {
  private readonly words = new Int32Array(new SharedArrayBuffer(8));
  private readonly control = new WorkerControl();
  private readonly kicker: Worker;
  private readonly path: string;
  /** How guests ended, by reason: to see that a generator makes more than one kind. */
  readonly ends = new Map<string, number>();

  /** @param directory for image files */
  static async open(directory: string): Promise<GuestBed> {
    const bed = new GuestBed(directory);
    await once(bed.kicker, 'message');
    return bed;
  }

  private constructor(directory: string) {
    this.path = `${directory}/guest`;
    blockVcpuSignals();
    const workerData: KickThreadData = {
      words: this.words.buffer as SharedArrayBuffer,
      control: this.control.buffer,
      threadId: currentThreadId(),
    };
    this.kicker = new Worker(new URL('./kick-thread.js', import.meta.url), { workerData });
    this.kicker.unref();
  }

  async close(): Promise<void> {
    await this.kicker.terminate();
  }

  /**
   * Boots an image and sees it through to its end, which must be one that a guest can cause.
   *
   * @param inspect looks at the machine before it is closed
   */
  run(
    image: Uint8Array,
    options: Partial<RunOptions> = {},
    inspect: (machine: Machine, ended: GuestEnd) => void = () => undefined,
    milliseconds = RUN_MILLISECONDS,
  ): GuestEnd {
    writeFileSync(this.path, image);
    return this.boot(this.path, options, () => undefined, inspect, milliseconds);
  }

  /**
   * The same of an image that is named.
   *
   * @param prepare changes the machine before it runs
   */
  boot(
    image: string,
    options: Partial<RunOptions>,
    prepare: (machine: Machine) => void,
    inspect: (machine: Machine, ended: GuestEnd) => void,
    milliseconds = RUN_MILLISECONDS,
  ): GuestEnd {
    const config = completeConfig({
      delivery: 'exit',
      memoryBytes: MEMORY_BYTES,
      ...options,
      image,
    });
    using machine = new Machine(config);
    prepare(machine);
    const ended = this.enter(machine, milliseconds);
    checkEnd(ended, machine.workload.pagesTouched !== null);
    checkStates(machine);
    inspect(machine, ended);
    this.ends.set(ended.end.reason, (this.ends.get(ended.end.reason) ?? 0) + 1);
    return ended;
  }

  private enter(machine: Machine, milliseconds: number): GuestEnd {
    const { config } = machine;
    const trap = machine.trap?.marked ? machine.trap : null;
    const vcpu = machine.vcpus[0]!;
    const memory = machine.memory.layout;
    const counterRows = new SharedArrayBuffer(COUNTER_ROW_BYTES);
    const counters = counterRow(counterRows, 0);
    const histograms = allocateHistograms(1);
    const timing = createFaultTiming(threadHistograms(histograms, 0));
    const traps = createTrapReader(memory);
    let console = '';
    const ports = portsOf(machine, (text) => {
      console = (console + text).slice(-65536);
    });
    const control = new WorkerControl(this.control.buffer);
    const { fd } = vcpu;
    const wake = createWake(memory, null, counters);
    const { strategy, around } = config;
    const run = createRunLoop({
      enter: () => ioctl(fd, KVM_RUN, 0),
      page: new RunPage(vcpu.runPage.address, vcpu.runPage.bytes),
      memory,
      resolver:
        trap === null
          ? createBystander({ memory, sleepers: false, strategy, counters, wake })
          : createResolver({
              memory,
              source: openSource(machine.contents),
              uffds: trap.uffds,
              strategy,
              around,
              caller: 'vcpu',
              sleepers: false,
              counters,
              timing,
            }),
      ports,
      traps,
      control,
      counters,
      timing,
      memoryErrors: createMemoryErrors(fd, machine.machineChecks, memory),
      wake,
      trap,
    });
    this.arm(milliseconds);
    const began = performance.now();
    let end: VcpuEnd;
    try {
      end = run();
    } finally {
      machine.pc?.end();
      this.disarm();
      traps.take(); // a kick that came too late
    }
    const took = performance.now() - began;
    assert(took < milliseconds + STOP_MILLISECONDS, `it took ${took.toFixed(0)} ms to stop`);
    const report = ports.report;
    const crew = {
      failure: null,
      handlerFinishes: [],
      choreFinishes: [],
      vcpuFinishes: [
        {
          index: 0,
          end: { vcpu: end, report, memoryErrors: 0, memoryErrorRecords: [] },
          perf: NO_READINGS,
          lockTrace: { why: 'not traced' },
          faultRetries: NOT_COUNTED,
          heap: { collections: 0, grownBytes: 0 },
          began,
          ended: began + took,
        },
      ],
      threads: 1,
      counters: counterRows,
      histograms,
    } as unknown as Crew;
    return { end, error: failureOf(machine, crew), report: [...report], console, crew };
  }

  private arm(milliseconds: number): void {
    new Int32Array(this.control.buffer)[0] = 0;
    this.control.start();
    this.words[1] = milliseconds;
    Atomics.store(this.words, 0, RUNNING);
    Atomics.notify(this.words, 0);
  }

  private disarm(): void {
    Atomics.store(this.words, 0, IDLE);
    Atomics.notify(this.words, 0);
  }
}
