/** Somebody else who wants a unit, at exactly the wrong time. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Outcome } from '../../src/fault/outcome.js';
import type { ResolverOptions } from '../../src/fault/resolver.js';
import type { GuestMemoryLayout } from '../../src/memory/guest-memory.js';

// Words of `shared`
export const BEGIN = 0;
export const FILLING = 1;
/** 1 + the outcome. */
export const ENDED = 2;

export interface RivalOrder extends Pick<ResolverOptions, 'caller' | 'sleepers' | 'uffds'> {
  readonly memory: GuestMemoryLayout;
  readonly unit: number;
  /** Of the pattern. */
  readonly seed: number;
  /** Whether its fill waits until somebody waits for the unit. */
  readonly holds: boolean;
  readonly shared: SharedArrayBuffer;
}

export class Rival {
  private readonly words = new Int32Array(new SharedArrayBuffer(12));
  private readonly worker: Worker;

  private constructor(order: Omit<RivalOrder, 'shared'>) {
    const workerData: RivalOrder = { ...order, shared: this.words.buffer as SharedArrayBuffer };
    this.worker = new Worker(new URL('./resolving-thread.js', import.meta.url), { workerData });
  }

  /** A thread that is about to resolve the unit. */
  static async prepare(order: Omit<RivalOrder, 'shared'>): Promise<Rival> {
    const rival = new Rival(order);
    await once(rival.worker, 'message');
    return rival;
  }

  /** Lets it go, and sleeps until it has claimed the unit and is at filling it. */
  claims(): void {
    this.begin();
    this.await(FILLING);
  }

  /** Lets it go, and sleeps until it is done. */
  resolves(): Outcome {
    this.begin();
    return this.outcome();
  }

  /** Sleeps until it is done. */
  outcome(): Outcome {
    return (this.await(ENDED) - 1) as Outcome;
  }

  /** It must be done. */
  async end(): Promise<void> {
    await this.worker.terminate();
  }

  private begin(): void {
    Atomics.store(this.words, BEGIN, 1);
    Atomics.notify(this.words, BEGIN);
  }

  private await(word: number): number {
    while (Atomics.load(this.words, word) === 0) {
      Atomics.wait(this.words, word, 0);
    }
    return Atomics.load(this.words, word);
  }
}
