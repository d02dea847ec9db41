import { EventEmitter, once } from 'node:events';
import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import type { ChoreWorkerData } from '../fault/chore-worker.js';
import type { ChoreEnd, ChoreSpec } from '../fault/chores.js';
import type { HandlerEnd } from '../fault/handler-loop.js';
import type { HandlerWorkerData } from '../fault/handler-worker.js';
import {
  type FinishedMessage,
  WorkerControl,
  type WorkerMessage,
} from '../fault/worker-control.js';
import { DefectError, type ErrorReport, reportOf } from '../ffi/errors.js';
import { close, munmap } from '../ffi/libc.js';
import { kickThread } from '../ffi/thread.js';
import { RunPage } from '../kvm/run-page.js';
import { COUNTER_ROW_BYTES } from '../measure/counters.js';
import { allocateHistograms } from '../measure/histogram.js';
import { type PerfEvents, perfEvents } from '../measure/perf-counters.js';
import { SharedSource } from '../source/shared-source.js';
import { ConsoleFlow } from '../vcpu/console-flow.js';
import type { VcpuWorkerData, VcpuWorkerEnd } from '../vcpu/vcpu-worker.js';
import { choresOf } from './chores-of.js';
import { CrewMember } from './crew-member.js';
import type { Machine } from './machine.js';
import type { ConsoleReader } from './pc.js';
import { checkThreadRoom, noThread } from './thread-room.js';

/** A stopped worker answers within microseconds; this long means that it never will. */
const STOP_DEADLINE_MILLISECONDS = 1000;
const KICK_INTERVAL_MILLISECONDS = 5;
/** Threads that load their code at the same time. */
const MOST_LOADING = 2 * availableParallelism();

/** What a thread ended with, and whose it was. */
export type Finish<End> = FinishedMessage<End> & { readonly index: number };

/** What the threads cost before the guest runs. */
export interface Startup {
  readonly threads: number;
  /** From starting the first to the last being ready. */
  readonly seconds: number;
  /** By how much the process's resident memory grew, for each: an engine, mostly. */
  readonly bytesPerThread: number;
}

/** What the build makes of vcpu/vcpu-worker.ts and its like: one file each. */
const VCPU_WORKER = new URL('../workers/vcpu-worker.cjs', import.meta.url);
const CHORE_WORKER = new URL('../workers/chore-worker.cjs', import.meta.url);
const HANDLER_WORKER = new URL('../workers/handler-worker.cjs', import.meta.url);

/**
 * The worker threads of one run: a worker per vCPU and, in handler delivery, the handlers. Starts
 * them together and stops them in the fixed order: vCPUs first, so that none is left to fault with
 * nobody to answer, then handlers.
 */
export class Crew {
  readonly control = new WorkerControl();
  readonly counters: SharedArrayBuffer;
  readonly histograms: SharedArrayBuffer;
  /** What starting the threads took; null until all are ready. */
  startup: Startup | null = null;
  /** The first thing that went wrong in a worker. */
  failure: ErrorReport | null = null;
  private readonly machine: Machine;
  private readonly vcpus: readonly CrewMember<VcpuWorkerEnd>[];
  private readonly handlers: readonly CrewMember<HandlerEnd>[];
  private readonly chores: readonly CrewMember<ChoreEnd>[];
  private readonly pages: readonly RunPage[];
  /** What the workers bring pages in from. */
  readonly source: SharedSource;
  private readonly onConsole: ConsoleReader;
  private readonly consoleFlow = new ConsoleFlow();
  private readonly changes = new EventEmitter();
  private launched = { at: 0, bytes: 0 };

  /** Describes the threads; {@link launch} starts them. */
  constructor(machine: Machine, perf: PerfEvents, onConsole: ConsoleReader) {
    this.machine = machine;
    this.onConsole = onConsole;
    machine.pc?.readBy(onConsole);
    setFlagsFromString('--expose-gc'); // for the workers: see run-worker.ts
    const { config, delivery } = machine;
    const handlerCount = delivery.handled ? config.handlers : 0;
    const specs = choresOf(machine);
    const threads = config.vcpus + handlerCount + specs.length;
    this.counters = new SharedArrayBuffer(threads * COUNTER_ROW_BYTES);
    this.histograms = allocateHistograms(threads);
    this.pages = machine.vcpus.map(({ runPage }) => new RunPage(runPage.address, runPage.bytes));
    this.source = new SharedSource({
      contents: machine.contents,
      network: config.network,
      delayMicroseconds: config.delayMicroseconds,
      faults: config.failSource,
      retries: config.sourceRetries,
    });
    const shared = {
      control: this.control.buffer,
      counters: this.counters,
      histograms: this.histograms,
      perf,
      memory: machine.memory.layout,
      source: this.source.spec,
      strategy: config.strategy,
      around: config.around,
    };
    this.vcpus = machine.vcpus.map((vcpu, index) => {
      const data: VcpuWorkerData = {
        ...shared,
        vcpu: vcpu.fd,
        runPageAddress: vcpu.runPage.address,
        runPageBytes: vcpu.runPage.bytes,
        trap: machine.trap,
        machineChecks: machine.machineChecks,
        pc: machine.pc?.forVcpus ?? null,
        consoleFlow: this.consoleFlow.buffer,
        row: index,
        cpu: pinned(config.pin.vcpu, index),
      };
      return new CrewMember<VcpuWorkerEnd>('vCPU', index, VCPU_WORKER, data);
    });
    this.handlers = Array.from({ length: handlerCount }, (_, index) => {
      const data: HandlerWorkerData = {
        ...shared,
        trap: machine.trap!, // without one there are no handlers
        reads: readBy(index, handlerCount, machine.trap!.uffds.fds),
        stopEvent: machine.stopHandlers.fd,
        row: config.vcpus + index,
        cpu: pinned(config.pin.handler, index),
      };
      return new CrewMember<HandlerEnd>('handler', index, HANDLER_WORKER, data);
    });
    this.chores = specs.map((chore, index) => {
      const data: ChoreWorkerData = {
        ...shared,
        perf: chore.kind === 'writer' ? perf : perfEvents(false),
        chore,
        trap: machine.trap,
        row: config.vcpus + handlerCount + index,
        cpu: null,
      };
      return new CrewMember<ChoreEnd>(chore.kind, index, CHORE_WORKER, data);
    });
  }

  /** Those that run the guest or serve its faults; they come first in `counters`. */
  get threads(): number {
    return this.vcpus.length + this.handlers.length;
  }

  /** What the vCPUs ended with; one whose thread died is left out. */
  get vcpuFinishes(): readonly Finish<VcpuWorkerEnd>[] {
    return finishesOf(this.vcpus);
  }

  get handlerFinishes(): readonly Finish<HandlerEnd>[] {
    return finishesOf(this.handlers);
  }

  /** What was done in the background. */
  get choreFinishes(): readonly (Finish<ChoreEnd> & { readonly chore: ChoreSpec['kind'] })[] {
    const specs = choresOf(this.machine);
    return finishesOf(this.chores).map((finish) => ({
      ...finish,
      chore: specs[finish.index]!.kind,
    }));
  }

  /**
   * Starts the threads. Starting one takes milliseconds, and then it loads its code for as long as a
   * CPU takes for that: more of them at a time than keep the CPUs busy would only keep everything else
   * waiting, the end of a run that is cut short above all.
   *
   * @param goOn asked before each; false leaves the rest unstarted
   * @param ended as for {@link ready}
   * @throws UnsupportedError when the host gives no more threads
   */
  async launch(goOn: () => Promise<boolean>, ended: () => boolean): Promise<void> {
    checkThreadRoom(this.members.length);
    this.launched = { at: performance.now(), bytes: process.memoryUsage.rss() };
    for (const member of this.members) {
      await this.until(() => ended() || this.failure !== null || this.loading < MOST_LOADING);
      if (this.failure !== null || !(await goOn())) {
        return;
      }
      try {
        member.start();
      } catch (error) {
        throw noThread(error);
      }
      this.follow(member);
    }
  }

  /** Resolves when all are ready to run, or something went wrong, or `ended` says so. */
  async ready(ended: () => boolean): Promise<void> {
    await this.until(
      () =>
        ended() || this.failure !== null || this.members.every((member) => member.threadId !== 0),
    );
    if (this.members.every((member) => member.threadId !== 0)) {
      const bytes = process.memoryUsage.rss() - this.launched.bytes;
      this.startup = {
        threads: this.members.length,
        seconds: (performance.now() - this.launched.at) / 1000,
        bytesPerThread: Math.round(bytes / this.members.length),
      };
    }
  }

  /**
   * Resolves when the run is over: every vCPU has ended well, or any thread has not, or `ended` says
   * so. `ended` is looked at whenever {@link nudge} is called.
   */
  async finished(ended: () => boolean): Promise<void> {
    await this.until(
      () =>
        ended() ||
        this.failure !== null ||
        this.vcpus.every((member) => member.finish !== null) ||
        this.vcpus.some((member) => member.finish !== null && endsAll(member.finish.end)) ||
        this.handlers.some((member) => member.finish !== null),
    );
  }

  /** Makes `ready` and `finished` look again. */
  nudge(): void {
    this.changes.emit('change');
  }

  /**
   * Stops what still runs and waits until every thread has ended.
   *
   * @throws DefectError when one does not: the process must then end by _exit, for a thread that
   * sits in KVM_RUN cannot be joined
   */
  async stop(): Promise<void> {
    this.control.stop();
    this.source.close(); // whoever waits for it goes on at once
    for (const member of this.members) {
      if (member.threadId === 0) {
        // Still loading its code, which takes seconds where many are. It has not run the guest and,
        // once told to stop, touches nothing of the machine: it may end when it comes to it. It is not
        // terminated: a native module that is being loaded then would abort the process.
        member.exited = true;
      }
    }
    await this.settle(this.vcpus, () => this.kick());
    this.machine.stopHandlers.signal();
    await this.settle(this.handlers, () => undefined);
    await this.settle(this.chores, () => undefined);
    this.machine.pc?.end();
    for (const member of this.members) {
      member.worker?.postMessage('leave');
    }
    await this.until(() => this.members.every((member) => member.exited));
  }

  /** Gets vCPUs out of KVM_RUN: `immediate_exit` for those about to enter, a signal for those in. */
  private kick(): void {
    this.vcpus.forEach((member, index) => {
      if (!member.settled) {
        this.pages[index]!.immediateExit = true;
        kickThread(member.threadId);
      }
    });
  }

  private async settle(members: readonly CrewMember<unknown>[], kick: () => void): Promise<void> {
    const settled = (): boolean => members.every((member) => member.settled);
    const deadline = Date.now() + STOP_DEADLINE_MILLISECONDS;
    const again = setInterval(() => {
      kick();
      this.nudge();
    }, KICK_INTERVAL_MILLISECONDS);
    kick();
    await this.until(() => settled() || Date.now() > deadline);
    clearInterval(again);
    if (!settled()) {
      const left = members.find((member) => !member.settled)!;
      const before = this.failure === null ? '' : `; before that: ${this.failure.message}`;
      this.machine.abandon();
      throw new DefectError(`the thread of ${left.name} did not stop${before}`);
    }
  }

  private follow(member: CrewMember<unknown>): void {
    const worker = member.worker!;
    worker.on('message', (message: WorkerMessage<unknown>) => {
      switch (message.type) {
        case 'ready':
          member.threadId = message.threadId;
          member.descriptors = message.descriptors;
          member.mappings = message.mappings;
          break;
        case 'console':
          void this.passOn(message.text, member.index);
          return;
        case 'serial':
          this.machine.pc?.told(message.what, member.index);
          return;
        case 'finished':
          member.finish = message;
          break;
        case 'failed':
          member.failed = true;
          this.failure ??= message.report;
          break;
      }
      this.nudge();
    });
    worker.on('error', (error: NodeJS.ErrnoException) => {
      const atStart = error.code === 'ERR_WORKER_INIT_FAILED' || error.code === 'EMFILE';
      this.failure ??= reportOf(atStart ? noThread(error) : error);
      this.nudge();
    });
    worker.on('exit', () => {
      member.exited = true;
      if (member.finish === null && !member.failed) {
        // It was terminated, and has closed nothing.
        for (const fd of member.descriptors) {
          close(fd);
        }
        for (const { address, bytes } of member.mappings) {
          munmap(address, bytes);
        }
      }
      if (member.finish === null && !this.control.stopping) {
        this.failure ??= reportOf(
          new DefectError(`the thread of ${member.name} ended without a word`),
        );
      }
      this.nudge();
    });
  }

  private async passOn(text: string, vcpu: number): Promise<void> {
    await this.onConsole(text, vcpu);
    this.consoleFlow.received(text.length);
  }

  /** Threads that have been started and are not ready yet. */
  private get loading(): number {
    return this.members.filter(
      ({ worker, threadId, settled }) => worker !== null && threadId === 0 && !settled,
    ).length;
  }

  private get members(): readonly CrewMember<unknown>[] {
    return [...this.vcpus, ...this.handlers, ...this.chores];
  }

  private async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await once(this.changes, 'change');
    }
  }
}

/** Whether the other vCPUs end with it: it did not end well, or has switched the machine off. */
function endsAll({ vcpu }: VcpuWorkerEnd): boolean {
  return !((vcpu.reason === 'exited' && vcpu.code === 0) || vcpu.reason === 'halted');
}

function finishesOf<End>(members: readonly CrewMember<End>[]): Finish<End>[] {
  return members.flatMap(({ finish, index }) => (finish === null ? [] : [{ ...finish, index }]));
}

/** Which userfaultfds a handler reads: its part of them or, where handlers are more, one with others. */
function readBy(handler: number, handlers: number, fds: readonly number[]): readonly number[] {
  return handlers >= fds.length
    ? [fds[handler % fds.length]!]
    : fds.filter((_, index) => index % handlers === handler);
}

function pinned(cpus: readonly number[] | undefined, index: number): number | null {
  return cpus?.[index % cpus.length] ?? null;
}
