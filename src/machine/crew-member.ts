import { Worker } from 'node:worker_threads';
import type { FinishedMessage, ReadyMessage } from '../fault/worker-control.js';

/** One worker thread, as the main thread follows it. */
export class CrewMember<End> {
  /** `vCPU 0`, `handler 1` */
  readonly name: string;
  /** Of the vCPU or handler. */
  readonly index: number;
  worker: Worker | null = null;
  /** 0 until it is ready. */
  threadId = 0;
  /** What it has open. */
  descriptors: readonly number[] = [];
  mappings: ReadyMessage['mappings'] = [];
  /** Set once its loop has ended. */
  finish: FinishedMessage<End> | null = null;
  /** It threw, and waits to be told to leave. */
  failed = false;
  exited = false;
  private readonly module: URL;
  private readonly data: object;

  constructor(kind: string, index: number, module: URL, data: object) {
    this.name = `${kind} ${index}`;
    this.index = index;
    this.module = module;
    this.data = data;
  }

  /** It will run no guest any more. */
  get settled(): boolean {
    return this.finish !== null || this.failed || this.exited;
  }

  start(): Worker {
    // Without the process's own flags: a loader or a test runner's hook would cost each thread more
    // than all else (three times as long to start), and has no business in it.
    const { NODE_OPTIONS: _flags, ...env } = process.env;
    this.worker = new Worker(this.module, { workerData: this.data, execArgv: [], env });
    return this.worker;
  }
}
