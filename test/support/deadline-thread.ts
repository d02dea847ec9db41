/** Watches the thread of a {@link Deadline}. */
import { writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { _exit } from '../../src/ffi/libc.js';
import type { DeadlineThreadData } from './deadline.js';

const { shared, milliseconds } = workerData as DeadlineThreadData;
const words = new Int32Array(shared, 0, 2);

for (;;) {
  const step = Atomics.load(words, 0);
  if (Atomics.wait(words, 0, step, milliseconds) === 'timed-out') {
    const text = new TextDecoder().decode(new Uint8Array(shared, 8, words[1]!).slice());
    writeSync(2, `step ${step} has not ended after ${milliseconds} ms, of: ${text}\n`);
    _exit(1);
  }
}
