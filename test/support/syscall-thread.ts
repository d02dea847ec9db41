/** Another thread, which makes system calls for a test: one that may sleep, or touch guest memory. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface SyscallRequest {
  readonly name: string;
  readonly args: readonly (number | string)[];
}

export interface SyscallAnswer {
  readonly result: number;
  /** 0 unless the result is negative. */
  readonly errno: number;
  /** What the function threw, as text. */
  readonly thrown: string | null;
}

export class SyscallThread {
  private readonly worker = new Worker(new URL('./syscall-worker.js', import.meta.url));

  /**
   * Makes one call in the thread: a function of src/ffi/libc.ts or src/ffi/thread.ts by name. The
   * answer comes when it returns; calls are made in the order they are asked for.
   */
  async call(name: string, ...args: readonly (number | string)[]): Promise<SyscallAnswer> {
    this.worker.postMessage({ name, args } satisfies SyscallRequest);
    const [answer] = (await once(this.worker, 'message')) as [SyscallAnswer];
    return answer;
  }

  /** The thread must not be in a call. */
  async end(): Promise<void> {
    await this.worker.terminate();
  }
}
