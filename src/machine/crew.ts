import { EventEmitter, once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import type { HandlerEnd } from '../fault/handler-loop.js';
import type { HandlerWorkerData } from '../fault/handler-worker.js';
import {
  type FinishedMessage,
  WorkerControl,
  type WorkerMessage,
} from '../fault/worker-control.js';
import { DefectError, type ErrorReport, reportOf } from '../ffi/errors.js';
import { kickThread } from '../ffi/thread.js';
import { RunPage } from '../kvm/run-page.js';
import { COUNTER_ROW_BYTES } from '../measure/counters.js';
import { HISTOGRAM_BYTES } from '../measure/histogram.js';
import type { PerfEvents } from '../measure/perf-counters.js';
import type { VcpuWorkerData, VcpuWorkerEnd } from '../vcpu/vcpu-worker.js';
import type { Machine } from './machine.js';

/** A stopped worker answers within microseconds; this long means that it never will. */
const STOP_DEADLINE_MILLISECONDS = 1000;
const KICK_INTERVAL_MILLISECONDS = 5;

export type VcpuFinish = FinishedMessage<VcpuWorkerEnd>;
export type HandlerFinish = FinishedMessage<HandlerEnd>;

/** One worker thread, as the main thread follows it. */
class CrewMember<End> {
  readonly worker: Worker;
  threadId = 0;
  /** Set once its loop has ended. */
  finish: FinishedMessage<End> | null = null;
  exited = false;

  constructor(module: URL, data: object) {
    // Without the process's own flags: a loader or a test runner's hook would cost each thread more
    // than all else (three times as long to start), and has no business in it.
    const { NODE_OPTIONS: _flags, ...env } = process.env;
    this.worker = new Worker(module, { workerData: data, execArgv: [], env });
  }
}

/**
 * The worker threads of one run: a worker per vCPU and, in handler delivery, the handlers. Starts
 * them together and stops them in the fixed order: vCPUs first, so that none is left to fault with
 * nobody to answer, then handlers.
 */
export class Crew {
  readonly control = new WorkerControl();
  readonly counters: SharedArrayBuffer;
  readonly histograms: SharedArrayBuffer;
  /** The first thing that went wrong in a worker. */
  failure: ErrorReport | null = null;
  private readonly machine: Machine;
  private readonly vcpus: readonly CrewMember<VcpuWorkerEnd>[];
  private readonly handlers: readonly CrewMember<HandlerEnd>[];
  private readonly pages: readonly RunPage[];
  private readonly changes = new EventEmitter();

  constructor(machine: Machine, perf: PerfEvents, onConsole: (text: string, vcpu: number) => void) {
    this.machine = machine;
    setFlagsFromString('--expose-gc'); // for the workers: see run-worker.ts
    const { config, delivery } = machine;
    const handlerCount = delivery.handled ? config.handlers : 0;
    const threads = config.vcpus + handlerCount;
    this.counters = new SharedArrayBuffer(threads * COUNTER_ROW_BYTES);
    this.histograms = new SharedArrayBuffer(threads * HISTOGRAM_BYTES);
    this.pages = machine.vcpus.map(({ runPage }) => new RunPage(runPage.address, runPage.bytes));
    const shared = {
      control: this.control.buffer,
      counters: this.counters,
      histograms: this.histograms,
      perf,
      memory: machine.memory.layout,
      source: config.source,
      strategy: config.strategy,
      uffd: machine.uffd?.fd ?? -1,
    };
    this.vcpus = machine.vcpus.map((vcpu, index) => {
      const data: VcpuWorkerData = {
        ...shared,
        vcpu: vcpu.fd,
        runPageAddress: vcpu.runPage.address,
        runPageBytes: vcpu.runPage.bytes,
        trapped: delivery.trapped,
        row: index,
        cpu: pinned(config.pin.vcpu, index),
      };
      const member = new CrewMember<VcpuWorkerEnd>(
        new URL('../vcpu/vcpu-worker.js', import.meta.url),
        data,
      );
      this.follow(member, (text) => onConsole(text, index));
      return member;
    });
    this.handlers = Array.from({ length: handlerCount }, (_, index) => {
      const data: HandlerWorkerData = {
        ...shared,
        stopEvent: machine.stopHandlers.fd,
        row: config.vcpus + index,
        cpu: pinned(config.pin.handler, index),
      };
      const member = new CrewMember<HandlerEnd>(
        new URL('../fault/handler-worker.js', import.meta.url),
        data,
      );
      this.follow(member, () => undefined);
      return member;
    });
  }

  get threads(): number {
    return this.vcpus.length + this.handlers.length;
  }

  /** What each vCPU ended with, in order; fewer than there are vCPUs if a worker died. */
  get vcpuFinishes(): readonly VcpuFinish[] {
    return finishesOf(this.vcpus);
  }

  get handlerFinishes(): readonly HandlerFinish[] {
    return finishesOf(this.handlers);
  }

  /** Resolves when all are ready to run, or something went wrong, or `ended` says so. */
  async ready(ended: () => boolean): Promise<void> {
    await this.until(
      () =>
        ended() || this.failure !== null || this.members.every((member) => member.threadId !== 0),
    );
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
        this.vcpus.some((member) => member.finish !== null && !endedWell(member.finish.end)) ||
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
    for (const member of this.members) {
      if (member.threadId === 0) {
        // Still loading its code, which may take seconds where many are: it has not run the guest
        // and now never will, so it can be ended from outside.
        void member.worker.terminate();
      }
    }
    await this.until(() => this.members.every((member) => member.threadId !== 0 || member.exited));
    await this.settle(this.vcpus, () => this.kick(), 'vCPU');
    this.machine.stopHandlers.signal();
    await this.settle(this.handlers, () => undefined, 'handler');
    for (const member of this.members) {
      member.worker.postMessage('leave');
    }
    await this.until(() => this.members.every((member) => member.exited));
  }

  /** Gets vCPUs out of KVM_RUN: `immediate_exit` for those about to enter, a signal for those in. */
  private kick(): void {
    this.vcpus.forEach((member, index) => {
      if (member.finish === null && !member.exited) {
        this.pages[index]!.immediateExit = true;
        kickThread(member.threadId);
      }
    });
  }

  private async settle(
    members: readonly CrewMember<unknown>[],
    kick: () => void,
    kind: string,
  ): Promise<void> {
    const settled = (): boolean =>
      members.every((member) => member.finish !== null || member.exited);
    const deadline = Date.now() + STOP_DEADLINE_MILLISECONDS;
    const again = setInterval(() => {
      kick();
      this.nudge();
    }, KICK_INTERVAL_MILLISECONDS);
    kick();
    await this.until(() => settled() || Date.now() > deadline);
    clearInterval(again);
    if (!settled()) {
      const left = members.findIndex((member) => member.finish === null && !member.exited);
      const before = this.failure === null ? '' : `; before that: ${this.failure.message}`;
      throw new DefectError(`the thread of ${kind} ${left} did not stop${before}`);
    }
  }

  private follow<End>(member: CrewMember<End>, onConsole: (text: string) => void): void {
    member.worker.on('message', (message: WorkerMessage<End>) => {
      switch (message.type) {
        case 'ready':
          member.threadId = message.threadId;
          break;
        case 'console':
          onConsole(message.text);
          return;
        case 'finished':
          member.finish = message;
          break;
      }
      this.nudge();
    });
    member.worker.on('error', (error) => {
      this.failure ??= reportOf(error);
      this.nudge();
    });
    member.worker.on('exit', () => {
      member.exited = true;
      if (member.finish === null && !this.control.stopping) {
        this.failure ??= reportOf(new DefectError('a worker thread ended without a word'));
      }
      this.nudge();
    });
  }

  private get members(): readonly CrewMember<unknown>[] {
    return [...this.vcpus, ...this.handlers];
  }

  private async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await once(this.changes, 'change');
    }
  }
}

function endedWell({ vcpu }: VcpuWorkerEnd): boolean {
  return (vcpu.reason === 'exited' && vcpu.code === 0) || vcpu.reason === 'halted';
}

function finishesOf<End>(members: readonly CrewMember<End>[]): FinishedMessage<End>[] {
  return members.flatMap((member) => (member.finish === null ? [] : [member.finish]));
}

function pinned(cpus: readonly number[] | undefined, index: number): number | null {
  return cpus?.[index % cpus.length] ?? null;
}
