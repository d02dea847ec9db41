/** Makes one system call once another thread has counted far enough, for not-yet.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { errno, madvise, read, sched_yield } from '../../src/ffi/libc.js';
import { SYSCALLS } from '../../src/measure/counters.js';

export interface CountedCall {
  /** The other thread's row. */
  readonly counters: SharedArrayBuffer;
  /** Made when that thread has made this many system calls. */
  readonly after: number;
  readonly call: 'madvise' | 'read';
  readonly args: readonly [number, number, number];
}

const { counters, after, call, args } = workerData as CountedCall;
const row = new Float64Array(counters);
parentPort!.postMessage('ready');
while (row[SYSCALLS]! < after) {
  sched_yield();
}
const result = call === 'madvise' ? madvise(...args) : read(...args);
parentPort!.postMessage(result < 0 ? -errno() : result);
