/**
 * Ends a guest that runs in another thread, after a while: as a machine's main thread does, for a
 * thread that is in KVM_RUN cannot.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { kickThread } from '../../src/ffi/thread.js';
import { IDLE, KICKING, type KickThreadData, RUNNING } from './kick-states.js';

const data = workerData as KickThreadData;
const words = new Int32Array(data.words);
const control = new WorkerControl(data.control);
parentPort!.postMessage('ready');

for (;;) {
  Atomics.wait(words, 0, IDLE);
  if (
    Atomics.wait(words, 0, RUNNING, words[1]) === 'timed-out' &&
    Atomics.compareExchange(words, 0, RUNNING, KICKING) === RUNNING
  ) {
    control.stop();
    do {
      kickThread(data.threadId);
    } while (Atomics.wait(words, 0, KICKING, 2) === 'timed-out');
  }
}
