/**
 * Ends the process when a call of this thread sleeps for ever: no timer fires in a thread that is in
 * the kernel. Says on stderr what was being done.
 */
import { Worker } from 'node:worker_threads';

const TEXT_BYTES = 65536;

export interface DeadlineThreadData {
  /** Word 0: signs of life since word 1 was set; word 1: bytes of text behind it. */
  readonly shared: SharedArrayBuffer;
  readonly milliseconds: number;
}

export class Deadline {
  private readonly shared = new SharedArrayBuffer(8 + TEXT_BYTES);
  private readonly words = new Int32Array(this.shared, 0, 2);
  private readonly text = new Uint8Array(this.shared, 8);
  private readonly worker: Worker;

  /** @param milliseconds from one sign of life to the next, at most */
  constructor(milliseconds: number) {
    const workerData: DeadlineThreadData = { shared: this.shared, milliseconds };
    this.worker = new Worker(new URL('./deadline-thread.js', import.meta.url), { workerData });
    this.worker.unref();
  }

  /** What comes next. */
  begin(what: string): void {
    this.words[1] = new TextEncoder().encodeInto(what.slice(0, TEXT_BYTES / 3), this.text).written;
    Atomics.store(this.words, 0, 0);
    Atomics.notify(this.words, 0);
  }

  /** A sign of life: the next step of it. */
  step(): void {
    Atomics.add(this.words, 0, 1);
    Atomics.notify(this.words, 0);
  }

  /** Nothing is waited for any more. */
  async end(): Promise<void> {
    await this.worker.terminate();
  }
}
