/** The resolver when a fault brings its neighbours in. */
import t, { type Test } from 'tap';
import { INSTALLED, MEMORY_ERROR, PRESENT } from '../../src/fault/outcome.js';
import type { ResolverOptions } from '../../src/fault/resolver.js';
import { fallocate } from '../../src/ffi/libc.js';
import { NEIGHBOURS, SYSCALLS } from '../../src/measure/counters.js';
import { CLAIMED, MAPPED, MISSING, POISONED } from '../../src/memory/page-states.js';
import type { PageSource } from '../../src/source/page-source.js';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from '../../src/uapi/mman.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { GuestPages } from '../support/guest-pages.js';
import { uffdSkip } from '../support/host.js';
import { PAGE, SOURCE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

function setUp(t: Test, around: ResolverOptions['around'], more: Partial<ResolverOptions> = {}) {
  const trap = new TrappedMemory('exit');
  t.teardown(() => trap.close());
  return {
    trap,
    states: trap.memory.states,
    view: new GuestPages(trap.memory.layout),
    ...trap.resolver({ around, ...more }),
    mapped: () =>
      [...trap.memory.states.words.keys()].filter(
        (unit) => trap.memory.states.stateOf(unit) === MAPPED,
      ),
  };
}

/** A source that has all pages but these. */
function lacking(...pages: number[]): PageSource {
  return {
    compare: SOURCE.compare.bind(SOURCE),
    fill: (page, words, first, count) =>
      !pages.some((lost) => page <= lost && lost < page + count / 1024) &&
      SOURCE.fill(page, words, first, count),
  };
}

eachBacking('neighbours come in with the unit', options, (t, backing, bytes) => {
  const trap = new TrappedMemory('exit', bytes / PAGE, backing.pageBytes, backing);
  t.teardown(() => trap.close());
  const view = new GuestPages(trap.memory.layout);
  const { resolve } = trap.resolver({ around: 2 });
  t.equal(resolve(0), INSTALLED);
  t.strictSame(view.units(), ['source', 'source', 'source', 'EFAULT']);
  t.strictSame([...trap.memory.states.words], [MAPPED, MAPPED, MAPPED, MISSING]);
  t.equal(trap.counters[NEIGHBOURS], 2);
  t.ok(trap.counters[SYSCALLS]! <= 2, 'in the system calls of one');
  t.equal(resolve(3), INSTALLED);
  t.equal(trap.counters[NEIGHBOURS], 2, 'there were none left');
});

t.test('those after it first, then those before', options, async (t) => {
  const { resolve, mapped } = setUp(t, 3);
  t.equal(resolve(13), INSTALLED);
  t.strictSame(mapped(), [12, 13, 14, 15], 'memory ends there');
  t.equal(resolve(4), INSTALLED);
  t.strictSame(mapped(), [4, 5, 6, 7, 12, 13, 14, 15]);
  t.equal(resolve(1), INSTALLED);
  t.strictSame(mapped().slice(0, 4), [0, 1, 2, 3]);
  t.equal(resolve(10), INSTALLED);
  t.strictSame(mapped().slice(8, 12), [8, 9, 10, 11]);
});

t.test('what is not missing ends the run, and is left as it is', options, async (t) => {
  const { resolve, states, mapped, view } = setUp(t, 15);
  states.words[3] = POISONED;
  states.words[9] = CLAIMED;
  t.equal(resolve(6), INSTALLED);
  t.strictSame(mapped(), [4, 5, 6, 7, 8]);
  t.strictSame([states.stateOf(3), states.stateOf(9)], [POISONED, CLAIMED]);
  t.strictSame(
    [3, 4, 8, 9].map((unit) => view.unit(unit)),
    ['EFAULT', 'source', 'source', 'EFAULT'],
  );
});

t.test('a neighbour mapped behind our back is no obstacle', options, async (t) => {
  const { trap, resolve, view, mapped } = setUp(t, 3);
  trap.fill(5);
  trap.uffd.continueRange(trap.guestAddress(5), PAGE, PAGE);
  t.equal(resolve(4), INSTALLED);
  t.strictSame(mapped(), [4, 5, 6, 7]);
  t.ok([4, 5, 6, 7].every((unit) => view.unit(unit) === 'source'));
});

t.test(
  'a neighbour that cannot be had is given back, and so are the others',
  options,
  async (t) => {
    const { trap, resolve, states, mapped, view } = setUp(t, 7, { source: lacking(6) });
    t.equal(resolve(4), INSTALLED, 'only what was asked for is insisted on');
    t.strictSame(mapped(), [4]);
    t.equal(states.count(MISSING), 15, 'nothing stays claimed, nothing is poisoned');
    t.equal(view.unit(4), 'source');
    t.equal(trap.counters[NEIGHBOURS], 0);
    t.strictSame(
      trap.ptes().map((pte) => pte === 'marker'),
      Array.from({ length: 16 }, (_, page) => page !== 4),
      'and all of them still trap',
    );
    t.equal(trap.resolver({ around: 7 }).resolve(5), INSTALLED, 'another source has them');
    t.strictSame(mapped(), [4, 5, 6, 7, 8, 9, 10, 11, 12]);
  },
);

t.test(
  'what a failing run has mapped already stays, with what the guest wrote to it',
  options,
  async (t) => {
    const trap = new TrappedMemory('exit');
    t.teardown(() => trap.close());
    const { states, layout } = trap.memory;
    const view = new GuestPages(layout);
    let once = true;
    // Page 6 is filled and gone again before it can be mapped: UFFDIO_CONTINUE stops there (EFAULT).
    const source: PageSource = {
      compare: SOURCE.compare.bind(SOURCE),
      fill: (page, words, first, count) => {
        SOURCE.fill(page, words, first, count);
        if (once && count > 1024) {
          once = false;
          const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
          t.equal(fallocate(layout.fd, mode, 6 * PAGE, PAGE), 0);
        }
        return true;
      },
    };
    const { resolve } = trap.resolver({ around: 7, source });
    t.equal(resolve(4), INSTALLED);
    t.strictSame(
      [3, 4, 5, 6, 7, 11].map((unit) => states.stateOf(unit)),
      [MISSING, MAPPED, MAPPED, MISSING, MISSING, MISSING],
    );
    view.write(5 * PAGE, Buffer.from('written by the guest'));
    t.equal(resolve(6), INSTALLED);
    t.equal(resolve(3), INSTALLED);
    t.equal(Buffer.from(view.bytes(5 * PAGE, 20)).toString(), 'written by the guest');
    t.equal(view.unit(6), 'source');
  },
);

t.test('a unit that cannot be had is poisoned alone', options, async (t) => {
  const { resolve, states, failure, mapped } = setUp(t, 7, { source: lacking(6) });
  t.equal(resolve(6), MEMORY_ERROR);
  t.strictSame(failure, { unit: 6, cause: 'source', errno: 0 });
  t.equal(states.stateOf(6), POISONED);
  t.equal(states.count(MISSING), 15);
  t.equal(resolve(7), INSTALLED, 'its neighbours can be had');
  t.strictSame(mapped(), [7, 8, 9, 10, 11, 12, 13, 14]);
});

t.test('adaptive: as many as a stream has earned', options, async (t) => {
  const { resolve, mapped } = setUp(t, 'adaptive');
  resolve(0);
  t.strictSame(mapped(), [0]);
  resolve(1);
  t.strictSame(mapped(), [0, 1, 2], 'the next one: it goes on upwards');
  resolve(3);
  t.strictSame(mapped(), [0, 1, 2, 3, 4, 5, 6]);
  resolve(15);
  t.strictSame(mapped(), [0, 1, 2, 3, 4, 5, 6, 15], 'elsewhere: nothing but what was asked for');
});

for (const caller of ['handler', 'prefetch'] as const) {
  t.test(`for a ${caller} too`, options, async (t) => {
    const { resolve, mapped } = setUp(t, 3, { caller });
    t.equal(resolve(8), INSTALLED);
    t.strictSame(mapped(), [8, 9, 10, 11]);
    t.equal(resolve(9), PRESENT);
  });
}
