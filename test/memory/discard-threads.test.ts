/** Discards while other threads use the memory. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { INSTALLED } from '../../src/fault/outcome.js';
import { SyscallError } from '../../src/ffi/errors.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { createDiscard, type Discarded } from '../../src/memory/discard.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { setUp } from '../support/discard-setup.js';
import type { DiscardingThreadData } from '../support/discarding-thread.js';
import { uffdSkip } from '../support/host.js';
import {
  FAULTED,
  LOOKED,
  type LookingThreadData,
  SEEN_BYTES,
  STOP,
  WRONG,
} from '../support/looking-thread.js';
import { PAGE } from '../support/trapped-memory.js';

const skip = uffdSkip(UFFD_FEATURE_POISON);
const options = { skip, timeout: 60_000 };

/** A discard in another thread. */
function discardElsewhere(t: Test, data: DiscardingThreadData): Promise<Discarded> {
  const url = new URL('../support/discarding-thread.js', import.meta.url);
  const worker = new Worker(url, { workerData: data });
  t.teardown(() => worker.terminate());
  return once(worker, 'message').then(([discarded]) => discarded as Discarded);
}

for (const before of ['mapped', 'missing'] as const) {
  t.test(`a discard waits for a claim of a ${before} unit to end`, options, async (t) => {
    const { trap, view, bringIn, states } = setUp(t, BACKINGS.shmem, 4 * PAGE);
    const { memory } = trap;
    bringIn(0, 2);
    if (before === 'mapped') {
      bringIn(1);
      t.ok(memory.states.claimMapped(1));
    } else {
      t.equal(memory.states.claim(1), MISSING);
    }
    const discarded = discardElsewhere(t, {
      memory: memory.layout,
      trap: trap.trap,
      start: 0,
      bytes: 3 * PAGE,
    });
    while (memory.states.markAwaited(0) === false) {
      await new Promise((resolve) => setTimeout(resolve, 1)); // until it has claimed unit 0
    }
    t.strictSame(
      [0, 2].map((unit) => view.unit(unit)),
      ['source', 'source'],
      'nothing is gone yet',
    );
    if (before === 'missing') {
      const installer = trap.installer();
      t.ok(installer.fill(1, 1));
      t.equal(installer.map(1, 1), INSTALLED);
    }
    t.equal(view.unit(1), 'source');
    memory.states.publish(1, MAPPED);
    t.strictSame(await discarded, { units: 3, zeroedBytes: 0 });
    t.strictSame(states(), Array(4).fill(MISSING));
    t.strictSame(view.units(), Array(4).fill('EFAULT'));
  });
}

t.test('told to stop while it waits for a claim, it gives back what it has', options, async (t) => {
  let asked = 0;
  const stopping = (): boolean => ++asked > 2;
  const { trap, discard, view, bringIn, states } = setUp(t, BACKINGS.shmem, 4 * PAGE, {
    context: { stopping },
  });
  bringIn(0, 1);
  t.ok(trap.memory.states.claimMapped(1));
  t.strictSame(discard(0, 4 * PAGE), { units: 0, zeroedBytes: 0 });
  trap.memory.states.publish(1, MAPPED);
  t.strictSame(states(), [MAPPED, MAPPED, MISSING, MISSING]);
  t.strictSame(view.units(), ['source', 'source', 'EFAULT', 'EFAULT']);
  t.strictSame(discard(0, PAGE), { units: 1, zeroedBytes: 0 }, 'and the next one can begin');
});

t.test('a call that fails is an error, and the units are what they were', options, async (t) => {
  const { trap, bringIn, view, states, discard } = setUp(t, BACKINGS.shmem, 4 * PAGE);
  bringIn(0, 1);
  const broken = createDiscard({
    memory: { ...trap.memory.layout, fd: -1 },
    trap: trap.trap,
    stopping: () => false,
    bringIn: () => false,
  });
  t.throws(() => broken(0, 4 * PAGE), SyscallError);
  t.throws(() => broken(0, 4 * PAGE), { call: 'fallocate(PUNCH_HOLE)', message: /EBADF/ });
  t.strictSame(states(), [MAPPED, MAPPED, MISSING, MISSING]);
  t.strictSame(view.units(), ['source', 'source', 'EFAULT', 'EFAULT']);
  t.equal(discard(0, 4 * PAGE).units, 2);
});

eachBacking(
  'a thread that looks meanwhile faults or sees the data, never zeroes',
  options,
  async (t, backing, bytes) => {
    const { trap, discard, unitBytes, states } = setUp(t, backing, bytes);
    const { resolve } = trap.resolver();
    const seen = new SharedArrayBuffer(SEEN_BYTES);
    const words = new Int32Array(seen);
    const worker = new Worker(new URL('../support/looking-thread.js', import.meta.url), {
      workerData: {
        guestAddress: trap.memory.layout.guestAddress,
        pages: bytes / PAGE,
        seen,
      } satisfies LookingThreadData,
    });
    t.teardown(() => worker.terminate());
    const rounds = backing.hugetlb ? 100 : 1500;
    for (let round = 0; round < rounds || words[LOOKED]! < 200 || words[FAULTED]! < 200; round++) {
      const unit = round % 4;
      for (const each of [0, 1, 2, 3]) {
        resolve(each);
      }
      pauseFor(words, LOOKED, round);
      discard(unit * unitBytes, Math.min(2, 4 - unit) * unitBytes);
      pauseFor(words, FAULTED, round);
    }
    Atomics.store(words, STOP, 1);
    await once(worker, 'message');
    t.equal(words[WRONG], 0, `${words[LOOKED]} looks saw the data and ${words[FAULTED]} faulted`);
    t.ok(states().every((state) => state === MAPPED || state === MISSING));
  },
);

/** Now and then: until the other thread has looked. The other rounds race with it. */
function pauseFor(words: Int32Array, kind: number, round: number): void {
  if (round % 10 === 0) {
    Atomics.wait(words, kind, Atomics.load(words, kind), 20);
  }
}
