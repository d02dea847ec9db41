/** One of several threads that change memory, for changes.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { MemoryChanges } from '../../src/memory/changes.js';

export interface ChangingThreadData {
  readonly changes: SharedArrayBuffer;
  /** Word 0: how many threads are inside a change; word 1: changes, counted without atomics. */
  readonly shared: SharedArrayBuffer;
  readonly rounds: number;
}

const { shared, rounds, ...data } = workerData as ChangingThreadData;
const changes = new MemoryChanges(data.changes);
const words = new Int32Array(shared);
let overlaps = 0;
for (let round = 0; round < rounds; round++) {
  changes.begin(() => false);
  overlaps += Atomics.add(words, 0, 1);
  words[1]!++;
  Atomics.sub(words, 0, 1);
  changes.end();
}
parentPort!.postMessage(overlaps);
