/** Compacts all memory over and over, until it is told to stop, for migrating.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { compact, makeHoles } from './compaction.js';

const stop = new Int32Array(workerData as SharedArrayBuffer);
/** What is to move has moved by then, or lies where it stays. */
const HOLES_MILLISECONDS = 3000;
const PAUSE_MILLISECONDS = 5;
let rounds = 0;
parentPort!.postMessage('ready');
while (Atomics.load(stop, 0) === 0) {
  using _holes = makeHoles();
  const until = performance.now() + HOLES_MILLISECONDS;
  for (; performance.now() < until && Atomics.load(stop, 0) === 0; rounds++) {
    compact();
    Atomics.wait(stop, 0, 0, PAUSE_MILLISECONDS);
  }
}
parentPort!.postMessage(rounds);
