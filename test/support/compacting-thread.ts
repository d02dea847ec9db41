/** Compacts all memory over and over, until it is told to stop, for migrating.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { compact, makeHoles } from './compaction.js';

const stop = new Int32Array(workerData as SharedArrayBuffer);
let rounds = 0;
parentPort!.postMessage('ready');
for (; Atomics.load(stop, 0) === 0; rounds++) {
  const holes = makeHoles();
  compact();
  holes.close();
  compact();
}
parentPort!.postMessage(rounds);
