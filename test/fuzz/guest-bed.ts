/**
 * Runs guests in this thread, one after the other: a machine as `runGuest` builds it and the run
 * loop of a vCPU, without a worker for each, which would cost ten times as much.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { createFaultTiming } from '../../src/fault/fault-timing.js';
import { createResolver } from '../../src/fault/resolver.js';
import { createTrapReader } from '../../src/fault/trap-marker.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { ioctl } from '../../src/ffi/libc.js';
import { blockVcpuSignals, currentThreadId } from '../../src/ffi/thread.js';
import { RunPage } from '../../src/kvm/run-page.js';
import type { Crew } from '../../src/machine/crew.js';
import { failureOf } from '../../src/machine/explain-end.js';
import { Machine } from '../../src/machine/machine.js';
import { completeConfig, type RunOptions } from '../../src/machine/machine-config.js';
import type { RunError } from '../../src/machine/run-result.js';
import { COUNTER_ROW_BYTES, counterRow } from '../../src/measure/counters.js';
import { allocateHistograms, threadHistograms } from '../../src/measure/histogram.js';
import type { PerfReadings } from '../../src/measure/perf-counters.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { openSource } from '../../src/source/open-source.js';
import { KVM_RUN } from '../../src/uapi/kvm.js';
import { PM_PRESENT, PM_SWAP } from '../../src/uapi/pagemap.js';
import { createGuestPorts } from '../../src/vcpu/guest-ports.js';
import { createRunLoop, type VcpuEnd } from '../../src/vcpu/run-loop.js';
import { checkSentence } from './complaints.js';
import { IDLE, type KickThreadData, RUNNING } from './kick-states.js';

/** A guest that has not ended by itself then is stopped. */
const RUN_MILLISECONDS = 10;
/** One that will, unless something is wrong. */
export const LONG_MILLISECONDS = 10_000;
/** From the first kick to the end of KVM_RUN, on a machine that others use too. */
const STOP_MILLISECONDS = 2000;
export const MEMORY_BYTES = 4 * 2 ** 20;
const PAGE = 4096;

const END_REASONS: readonly VcpuEnd['reason'][] = [
  'exited',
  'halted',
  'shutdown',
  'stopped',
  'failed',
];

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
  contextSwitches: NOT_COUNTED,
};

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
    const { config, trap } = machine;
    const vcpu = machine.vcpus[0]!;
    const memory = machine.memory.layout;
    const counterRows = new SharedArrayBuffer(COUNTER_ROW_BYTES);
    const counters = counterRow(counterRows, 0);
    const histograms = allocateHistograms(1);
    const timing = createFaultTiming(threadHistograms(histograms, 0));
    const traps = createTrapReader(memory);
    let console = '';
    const ports = createGuestPorts((text) => {
      console = (console + text).slice(-65536);
    });
    const control = new WorkerControl(this.control.buffer);
    const { fd } = vcpu;
    const run = createRunLoop({
      enter: () => ioctl(fd, KVM_RUN, 0),
      page: new RunPage(vcpu.runPage.address, vcpu.runPage.bytes),
      memory,
      resolver: createResolver({
        memory,
        source: openSource(config.source),
        uffd: trap?.uffd ?? -1,
        strategy: config.strategy,
        around: config.around,
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
      memoryErrors: { answer: () => false, records: [], count: () => 0 },
      wake: () => undefined,
      trap,
    });
    this.arm(milliseconds);
    const began = performance.now();
    let end: VcpuEnd;
    try {
      end = run();
    } finally {
      this.disarm();
      traps.take(); // a kick that came too late
    }
    const took = performance.now() - began;
    assert(took < milliseconds + STOP_MILLISECONDS, `it took ${took.toFixed(0)} ms to stop`);
    const report = ports.report;
    const crew = {
      failure: null,
      handlerFinishes: [],
      vcpuFinishes: [
        { index: 0, end: { vcpu: end, report }, perf: NO_READINGS, began, ended: began + took },
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

/** The end is one that a guest can cause, and the error says which. */
function checkEnd({ end, error }: GuestEnd, judgesItself: boolean): void {
  const detail = JSON.stringify({ end, error });
  assert(END_REASONS.includes(end.reason), detail);
  const ended = end.reason === 'halted' || end.reason === 'stopped';
  const succeeded = end.reason === 'exited' && (end.code === 0 || judgesItself);
  assert.equal(error === null, ended || succeeded, detail);
  if (error !== null) {
    assert(['guest', 'shutdown'].includes(error.code), detail);
    checkSentence(error.message);
  }
  // What only we, or the kernel, can be to blame for.
  assert(end.reason !== 'failed' || !/KVM_RUN failed/.test(end.detail), detail);
}

/** What the guest mapping has is what the page states say: nothing is claimed, nothing untrapped. */
function checkStates({ memory, trap, uffd }: Machine): void {
  const { bytes, unitBytes, guestAddress } = memory.layout;
  if (trap === null || !trap.marked || uffd === null) {
    return;
  }
  const entries = new BigUint64Array(bytes / PAGE);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  readSync(pagemap, entries, 0, entries.byteLength, (guestAddress / PAGE) * 8);
  closeSync(pagemap);
  const pagesPerUnit = unitBytes / PAGE;
  for (let page = 0; page < entries.length; page++) {
    const state = memory.states.words[Math.floor(page / pagesPerUnit)];
    const entry = entries[page]!;
    const present = (entry & BigInt(PM_PRESENT)) !== 0n;
    const marked = !present && (entry & BigInt(PM_SWAP)) !== 0n;
    assert(
      (state === MISSING && marked) || (state === MAPPED && present),
      `page ${page} is in state ${state}, its entry is 0x${entry.toString(16)}`,
    );
  }
}
