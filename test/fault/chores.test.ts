import t, { type Test } from 'tap';
import {
  type ChoreSpec,
  Collapser,
  collapseComplete,
  discardAtRandom,
  prefetch,
} from '../../src/fault/chores.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { hugeMappedBytes } from '../../src/memory/huge-pages.js';
import { CLAIMED, MAPPED, MISSING, POISONED } from '../../src/memory/page-states.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { GuestPages } from '../support/guest-pages.js';
import { uffdSkip } from '../support/host.js';
import { PAGE, SOURCE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 30_000 };

function trapped(t: Test, pages = 16, unitBytes = PAGE): TrappedMemory {
  const trap = new TrappedMemory('exit', pages, unitBytes, BACKINGS.shmem);
  t.teardown(() => trap.close());
  return trap;
}

/** A control that says stop when it has been asked so often. */
function stopAfter(asked: number): WorkerControl {
  const control = new WorkerControl();
  control.start();
  let times = 0;
  Object.defineProperty(control, 'stopping', { get: () => times++ >= asked });
  return control;
}

function prefetchAll(
  trap: TrappedMemory,
  around: number,
  control = new WorkerControl(),
  rate: number | null = null,
) {
  const { resolve } = trap.resolver({ caller: 'prefetch', around });
  return prefetch(trap.memory.layout, rate, resolve, trap.counters, control);
}

for (const [around, calls] of [
  [0, 16],
  [7, 2],
] as const) {
  t.test(`prefetch with ${around} neighbours brings all in, once`, options, async (t) => {
    const trap = trapped(t);
    t.strictSame(prefetchAll(trap, around), { reason: 'done', count: 16, calls, failures: {} });
    t.strictSame(new Set(new GuestPages(trap.memory.layout).units()), new Set(['source']));
    t.strictSame(prefetchAll(trap, around), { reason: 'done', count: 0, calls: 0, failures: {} });
  });
}

t.test('prefetch leaves alone what others bring in or cannot', options, async (t) => {
  const trap = trapped(t);
  const { words } = trap.memory.states;
  words[3] = CLAIMED;
  words[5] = POISONED;
  trap.resolver().resolve(9);
  t.match(prefetchAll(trap, 0), { count: 13, calls: 13 });
  t.strictSame([words[3], words[5]], [CLAIMED, POISONED]);
});

t.test('prefetch goes on after what it cannot have', options, async (t) => {
  const trap = trapped(t);
  const source = {
    compare: SOURCE.compare.bind(SOURCE),
    fill: (page: number, words: Int32Array, first: number, count: number) =>
      page !== 4 && SOURCE.fill(page, words, first, count),
  };
  const { resolve } = trap.resolver({ caller: 'prefetch', source });
  const end = prefetch(trap.memory.layout, null, resolve, trap.counters, new WorkerControl());
  t.strictSame(end, { reason: 'done', count: 15, calls: 16, failures: {} });
  t.equal(trap.memory.states.stateOf(4), POISONED);
});

t.test('prefetch stops when told to, also where it keeps to a rate', options, async (t) => {
  const trap = trapped(t);
  t.match(prefetchAll(trap, 0, stopAfter(5)), { reason: 'stopped', count: 5 });
  const began = performance.now();
  t.match(prefetchAll(trap, 0, stopAfter(8), 100 * PAGE), { reason: 'stopped' });
  t.ok(performance.now() - began >= 10, 'three pages at a hundred a second');
});

t.test('random discards stay in their range, and count what was mapped', options, async (t) => {
  const trap = trapped(t, 256);
  const asked: { start: number; bytes: number }[] = [];
  const spec: ChoreSpec & { kind: 'discard' } = {
    kind: 'discard',
    bytesPerSecond: null,
    start: 10 * PAGE + 1,
    end: 200 * PAGE - 1,
  };
  const discard = (start: number, bytes: number) => {
    asked.push({ start, bytes });
    return { units: 2, zeroedBytes: 0 };
  };
  const end = discardAtRandom(trap.memory.layout, spec, discard, stopAfter(2000));
  t.strictSame(end, { reason: 'stopped', count: 4000, calls: 2000, failures: {} });
  t.ok(asked.every(({ start, bytes }) => start % PAGE === 0 && bytes % PAGE === 0 && bytes > 0));
  t.equal(Math.min(...asked.map(({ start }) => start)), 11 * PAGE, 'the first whole unit');
  t.equal(Math.max(...asked.map(({ start, bytes }) => start + bytes)), 199 * PAGE);
  t.equal(Math.max(...asked.map(({ bytes }) => bytes)), 64 * PAGE);
});

/** Four blocks, of which the first and the last are complete. */
function blocks(t: Test): TrappedMemory {
  const trap = trapped(t, (4 * HUGE_PAGE_BYTES) / PAGE, HUGE_PAGE_BYTES / 4);
  const { resolve } = trap.resolver();
  for (const unit of [0, 1, 2, 3, 4, 5, 6, 12, 13, 14, 15]) {
    resolve(unit);
  }
  return trap;
}

t.test('complete blocks are collapsed, each once', options, async (t) => {
  const trap = blocks(t);
  const { layout } = trap.memory;
  const collapser = new Collapser(layout, trap.trap, () => false);
  t.equal(collapser.blocks, 4);
  collapser.pass(1, 100);
  t.strictSame(collapser.result(), { count: 1, calls: 1, failures: {} }, 'of those asked for');
  collapser.pass();
  collapser.pass();
  t.strictSame(collapser.result(), { count: 2, calls: 2, failures: {} });
  t.equal(hugeMappedBytes(layout.guestAddress, layout.bytes), 2 * HUGE_PAGE_BYTES);
  trap.resolver().resolve(7);
  t.match(collapseComplete(layout, trap.trap, stopAfter(20)), {
    reason: 'stopped',
    count: 1,
  });
  t.equal(trap.memory.states.count(MAPPED), 12);
  t.equal(trap.memory.states.count(MISSING), 4);
});

t.test(
  'one that the kernel cannot collapse is tried three times, and counted',
  options,
  async (t) => {
    const trap = blocks(t);
    trap.uffd.close();
    const collapser = new Collapser(trap.memory.layout, trap.trap, () => false);
    for (let pass = 0; pass < 5; pass++) {
      collapser.pass();
    }
    const { count, calls, failures } = collapser.result();
    t.strictSame(
      { count, calls, failures: Object.values(failures) },
      { count: 0, calls: 6, failures: [6] },
    );
  },
);
