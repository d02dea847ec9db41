/** Somebody who gives the kernel advice about every 2 MiB of a range, over and over. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface AttackOrder {
  readonly address: number;
  readonly bytes: number;
  /** MADV_* */
  readonly advice: number;
}

export interface AttackReport {
  readonly calls: number;
  /** Those that succeeded. */
  readonly done: number;
  /** The others, by errno. */
  readonly failures: Readonly<Record<number, number>>;
}

/** A thread of its own, which takes a while to start: it waits for the order. */
export class Attack {
  private readonly stopWord = new Int32Array(new SharedArrayBuffer(4));
  private readonly worker = new Worker(new URL('./attack-thread.js', import.meta.url), {
    workerData: this.stopWord.buffer,
  });

  static async prepare(): Promise<Attack> {
    const attack = new Attack();
    await once(attack.worker, 'message');
    return attack;
  }

  begin(order: AttackOrder): void {
    this.worker.postMessage(order);
  }

  /** Ends it, and says what it has done. It must have begun. */
  async end(): Promise<AttackReport> {
    const report = once(this.worker, 'message');
    Atomics.store(this.stopWord, 0, 1);
    const [answer] = (await report) as [AttackReport];
    await this.worker.terminate();
    return answer;
  }
}
