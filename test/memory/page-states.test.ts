import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import {
  AWAITED,
  CLAIMED,
  MAPPED,
  MISSING,
  PageStates,
  POISONED,
} from '../../src/memory/page-states.js';
import type { ClaimingThreadData } from '../support/claiming-thread.js';

const ALL = [MISSING, CLAIMED, AWAITED, MAPPED, POISONED] as const;

/** One unit in the state given, and a neighbour on either side. */
function unitIn(state: number): PageStates {
  const states = new PageStates(PageStates.allocate(3));
  states.words[1] = state;
  return states;
}

t.test('all units start out missing', async (t) => {
  const states = new PageStates(PageStates.allocate(100));
  t.equal(states.count(MISSING), 100);
  t.equal(states.words.length, 100);
});

t.test('claim takes a missing unit and no other', async (t) => {
  for (const state of ALL) {
    const states = unitIn(state);
    t.equal(states.claim(1), state, 'it says what it found');
    t.equal(states.stateOf(1), state === MISSING ? CLAIMED : state);
    t.strictSame([states.stateOf(0), states.stateOf(2)], [MISSING, MISSING]);
  }
});

t.test('publish ends a claim, awaited or not', async (t) => {
  for (const before of [CLAIMED, AWAITED]) {
    for (const after of [MAPPED, POISONED, MISSING] as const) {
      const states = unitIn(before);
      states.publish(1, after);
      t.equal(states.stateOf(1), after);
    }
  }
});

t.test('a unit given back can be claimed again', async (t) => {
  const states = unitIn(MISSING);
  states.claim(1);
  states.publish(1, MISSING);
  t.equal(states.claim(1), MISSING);
});

t.test('wait marks a claim as awaited, and comes back without a publish', async (t) => {
  for (const state of [CLAIMED, AWAITED]) {
    const states = unitIn(state);
    states.wait(1);
    t.equal(states.stateOf(1), AWAITED);
  }
});

t.test('wait changes no unit that nobody claims', async (t) => {
  for (const state of [MISSING, MAPPED, POISONED]) {
    const states = unitIn(state);
    states.wait(1);
    t.equal(states.stateOf(1), state);
  }
});

t.test('claimMapped takes a mapped unit and no other', async (t) => {
  for (const state of ALL) {
    const states = unitIn(state);
    t.equal(states.claimMapped(1), state === MAPPED);
    t.equal(states.stateOf(1), state === MAPPED ? CLAIMED : state);
    t.strictSame([states.stateOf(0), states.stateOf(2)], [MISSING, MISSING]);
  }
});

t.test('seize takes a unit in whatever state, and says which', async (t) => {
  for (const state of [MISSING, MAPPED, POISONED] as const) {
    const states = unitIn(state);
    t.equal(
      states.seize(1, () => true),
      state,
      'it need not wait, so it does not ask',
    );
    t.equal(states.stateOf(1), CLAIMED);
  }
});

t.test('seize waits for a claim to end, and gives up when told to', async (t) => {
  for (const state of [CLAIMED, AWAITED]) {
    const states = unitIn(state);
    let asked = 0;
    t.equal(
      states.seize(1, () => ++asked === 2),
      null,
    );
    t.equal(asked, 2);
    t.equal(states.stateOf(1), AWAITED, 'the claim is not its own');
    const published = states.seize(1, () => {
      states.publish(1, POISONED); // in place of another thread, while it waits
      return false;
    });
    t.equal(published, POISONED);
    t.equal(states.stateOf(1), CLAIMED);
  }
});

t.test('markAwaited leaves word with a claimant, which publish tells it', async (t) => {
  for (const state of ALL) {
    const states = unitIn(state);
    const claimed = state === CLAIMED || state === AWAITED;
    t.equal(states.markAwaited(1), claimed);
    t.equal(states.stateOf(1), claimed ? AWAITED : state);
    t.equal(states.publish(1, MAPPED), claimed, 'somebody is to be woken');
  }
  const states = unitIn(CLAIMED);
  t.equal(states.publish(1, MAPPED), false, 'nobody is');
});

t.test('count counts every state', async (t) => {
  const states = new PageStates(PageStates.allocate(10));
  states.words.set([MAPPED, MAPPED, POISONED, CLAIMED, AWAITED]);
  t.strictSame(
    ALL.map((state) => states.count(state)),
    [5, 1, 1, 2, 1],
  );
});

t.test(
  'many threads claim the same units: one wins each, and all see it mapped',
  {
    timeout: 30_000,
  },
  async (t) => {
    const threads = 4;
    const rounds = 5000;
    const data: ClaimingThreadData = {
      states: PageStates.allocate(rounds),
      shared: new SharedArrayBuffer(4 * (1 + rounds)),
      threads,
      rounds,
    };
    const workers = Array.from(
      { length: threads },
      () =>
        new Worker(new URL('../support/claiming-thread.js', import.meta.url), { workerData: data }),
    );
    t.teardown(() => Promise.all(workers.map((worker) => worker.terminate())));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    t.equal(new PageStates(data.states).count(MAPPED), rounds);
    const winners = new Int32Array(data.shared, 4);
    t.ok(
      winners.every((count) => count === 1),
      `${rounds} units have one winner each`,
    );
  },
);

t.test(
  'publish wakes all who wait, before their time slice is over',
  { timeout: 30_000 },
  async (t) => {
    // Waiters are asleep once the unit is AWAITED and each has said so; a missed wake-up would cost a
    // waiter the slice of 20 ms, so the median of many rounds tells.
    const shared = new SharedArrayBuffer(64);
    const states = PageStates.allocate(1);
    const worker = new Worker(new URL('../support/waiting-thread.js', import.meta.url), {
      workerData: { states, shared },
    });
    t.teardown(() => worker.terminate());
    await once(worker, 'message');
    const ours = new PageStates(states);
    const turn = new Int32Array(shared);
    const took: number[] = [];
    for (let round = 1; round <= 41; round++) {
      ours.claim(0);
      Atomics.store(turn, 0, round);
      Atomics.notify(turn, 0);
      while (ours.stateOf(0) !== AWAITED) {
        Atomics.wait(turn, 2, 0, 0.05); // a pause: the waiter may need this CPU
      }
      const began = performance.now();
      ours.publish(0, MAPPED);
      while (Atomics.load(turn, 1) !== round) {
        Atomics.wait(turn, 1, round - 1, 1000);
      }
      took.push(performance.now() - began);
      ours.words[0] = MISSING;
    }
    const median = took.sort((a, b) => a - b)[20]!;
    t.ok(median < 10, `a waiter was awake after ${median.toFixed(3)} ms, half of the times`);
  },
);
