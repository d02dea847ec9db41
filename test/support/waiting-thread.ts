/** Waits for a unit in every round that it is told of, for page-states.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { AWAITED, CLAIMED, PageStates } from '../../src/memory/page-states.js';

const { states: buffer, shared } = workerData as Record<'states' | 'shared', SharedArrayBuffer>;
const states = new PageStates(buffer);
/** Word 0: the round that may begin; word 1: the round that ended. */
const turn = new Int32Array(shared);

parentPort!.postMessage('ready');
for (let round = 1; ; round++) {
  while (Atomics.load(turn, 0) < round) {
    Atomics.wait(turn, 0, round - 1);
  }
  while (states.stateOf(0) === CLAIMED || states.stateOf(0) === AWAITED) {
    states.wait(0);
  }
  Atomics.store(turn, 1, round);
  Atomics.notify(turn, 1);
}
