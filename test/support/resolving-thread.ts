/** Another thread that resolves one unit, with a source that waits in mid-fault: see {@link Rival}. */
import { parentPort, workerData } from 'node:worker_threads';
import { UNTIMED } from '../../src/fault/fault-timing.js';
import { createResolver } from '../../src/fault/resolver.js';
import { COUNTER_ROW_BYTES, counterRow } from '../../src/measure/counters.js';
import { CLAIMED, PageStates } from '../../src/memory/page-states.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { BEGIN, ENDED, FILLING, type RivalOrder } from './rival.js';

const { memory, uffds, caller, sleepers, unit, seed, shared, holds } = workerData as RivalOrder;
const words = new Int32Array(shared);
const states = new PageStates(memory.states);
const pattern = new PatternSource(seed);

function reach(word: number, value: number): void {
  Atomics.store(words, word, value);
  Atomics.notify(words, word);
}

const { resolve } = createResolver({
  memory,
  source: {
    compare: () => -1,
    fill: (...args) => {
      reach(FILLING, 1);
      while (holds && states.stateOf(unit) === CLAIMED) {
        Atomics.wait(states.words, unit, CLAIMED, 1); // who waits does not notify the claimant
      }
      return pattern.fill(...args);
    },
  },
  uffds,
  strategy: 'no-slow-gup',
  around: 0,
  caller,
  sleepers,
  counters: counterRow(new SharedArrayBuffer(COUNTER_ROW_BYTES), 0),
  timing: UNTIMED,
});
parentPort!.postMessage('ready');
while (Atomics.load(words, BEGIN) === 0) {
  Atomics.wait(words, BEGIN, 0);
}
reach(ENDED, 1 + resolve(unit));
