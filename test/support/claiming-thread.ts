/** One of several threads that want the same units, for page-states.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { AWAITED, CLAIMED, MAPPED, MISSING, PageStates } from '../../src/memory/page-states.js';

export interface ClaimingThreadData {
  readonly states: SharedArrayBuffer;
  /** Word 0: how many threads have arrived; each unit's next words: who won it, how often. */
  readonly shared: SharedArrayBuffer;
  readonly threads: number;
  readonly rounds: number;
}

const { shared, threads, rounds, ...data } = workerData as ClaimingThreadData;
const states = new PageStates(data.states);
const words = new Int32Array(shared);

/** Returns in all threads at once. */
function barrier(round: number): void {
  const target = (round + 1) * threads;
  let arrived = Atomics.add(words, 0, 1) + 1;
  if (arrived === target) {
    Atomics.notify(words, 0);
  }
  while (arrived < target) {
    Atomics.wait(words, 0, arrived, 1000);
    arrived = Atomics.load(words, 0);
  }
}

for (let round = 0; round < rounds; round++) {
  barrier(round);
  if (states.claim(round) === MISSING) {
    Atomics.add(words, 1 + round, 1);
    states.publish(round, MAPPED);
    continue;
  }
  let state = states.stateOf(round);
  while (state === CLAIMED || state === AWAITED) {
    states.wait(round);
    state = states.stateOf(round);
  }
  if (state !== MAPPED) {
    throw new Error(`unit ${round} was published MAPPED and is ${state}`);
  }
}
parentPort!.postMessage('done');
