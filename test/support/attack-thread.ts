/** The thread behind {@link Attack}: does harm to memory in a loop until it is told to stop. */
import { parentPort, workerData } from 'node:worker_threads';
import { errno, madvise } from '../../src/ffi/libc.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import type { AttackOrder, AttackReport } from './attack.js';

const port = parentPort!;
const stop = new Int32Array(workerData as SharedArrayBuffer);

port.once('message', ({ address, bytes, advice }: AttackOrder) => {
  const failures: Record<number, number> = {};
  let calls = 0;
  let done = 0;
  while (Atomics.load(stop, 0) === 0) {
    for (let at = 0; at + HUGE_PAGE_BYTES <= bytes && Atomics.load(stop, 0) === 0; ) {
      calls++;
      if (madvise(address + at, HUGE_PAGE_BYTES, advice) === 0) {
        done++;
      } else {
        const error = errno();
        failures[error] = (failures[error] ?? 0) + 1;
      }
      at += HUGE_PAGE_BYTES;
    }
  }
  port.postMessage({ calls, done, failures } satisfies AttackReport);
});
port.postMessage('ready');
