import { constants } from 'node:os';
import t from 'tap';
import { INSTALLED, MEMORY_ERROR, POPULATED, PRESENT } from '../../src/fault/outcome.js';
import { madvise } from '../../src/ffi/libc.js';
import { SYSCALLS } from '../../src/measure/counters.js';
import { MAPPED, MISSING, POISONED } from '../../src/memory/page-states.js';
import type { PageSource } from '../../src/source/page-source.js';
import { MADV_DONTNEED, MADV_REMOVE } from '../../src/uapi/mman.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { memorySkip, uffdSkip } from '../support/host.js';
import { expected, PAGE, pteAt, SOURCE, TrappedMemory } from '../support/trapped-memory.js';

const { EFAULT } = constants.errno;
const skip = uffdSkip(UFFD_FEATURE_POISON);
const options = { skip, timeout: 20_000 };

/** Memory that is closed when the test ends. */
function trapped(t: { teardown(close: () => void): void }, pages?: number, unitBytes?: number) {
  const trap = new TrappedMemory('exit', pages, unitBytes);
  t.teardown(() => trap.close());
  return trap;
}

const noSource: PageSource = { fill: () => false, compare: () => -1 };

t.test('a missing page is filled, continued and published', options, async (t) => {
  const trap = trapped(t);
  const { states } = trap.memory;
  t.equal(trap.pte(3), 'marker', 'the page traps beforehand');
  t.equal(trap.resolver().resolve(3), INSTALLED);
  t.equal(trap.pte(3), 'present');
  t.equal(trap.pte(4), 'marker', 'its neighbour still traps');
  t.equal(states.stateOf(3), MAPPED);
  t.equal(states.count(MISSING), 15);
  t.strictSame(trap.alias.words[0]!.slice(3 * 1024, 4 * 1024), expected(3));
  t.equal(trap.counters[SYSCALLS], 1, 'one system call');
});

t.test('a page that another thread continued behind our back is present', options, async (t) => {
  const trap = trapped(t);
  trap.fill(5);
  trap.uffd.continueRange(trap.guestAddress(5), PAGE, PAGE);
  t.equal(trap.resolver().resolve(5), PRESENT);
  t.equal(trap.memory.states.stateOf(5), MAPPED);
  t.strictSame(trap.alias.words[0]!.slice(5 * 1024, 6 * 1024), expected(5));
});

t.test('a mapped page: first a lost race, from then on populated', options, async (t) => {
  const trap = trapped(t);
  const { resolve } = trap.resolver();
  resolve(1);
  t.equal(resolve(1), PRESENT, 'the first exit after it was mapped lost a race');
  t.equal(resolve(1), POPULATED, 'the second did not');
  t.equal(resolve(1), POPULATED, 'nor does any other');
  t.equal(trap.memory.states.stateOf(1), MAPPED);
});

t.test(
  'pages that one instruction needs exit in turn, and all are populated',
  options,
  async (t) => {
    const trap = trapped(t);
    const { resolve } = trap.resolver();
    for (const unit of [1, 2, 3]) {
      resolve(unit);
    }
    t.strictSame([1, 2, 3].map(resolve), [PRESENT, PRESENT, PRESENT]);
    t.strictSame([1, 2, 3].map(resolve), [POPULATED, POPULATED, POPULATED]);
  },
);

t.test('lost races for different pages are no memory error, however many', options, async (t) => {
  const trap = trapped(t);
  const other = trap.resolver();
  const { resolve } = trap.resolver({ strategy: 'no-uffd-wait' });
  const units = Array.from({ length: 12 }, (_, unit) => unit);
  for (const unit of units) {
    t.equal(other.resolve(unit), INSTALLED);
    t.equal(resolve(unit), PRESENT, 'another thread was faster');
  }
});

t.test('no-uffd-wait: a continued page that exits again is a memory error', options, async (t) => {
  const trap = trapped(t);
  const { resolve, failure } = trap.resolver({ strategy: 'no-uffd-wait' });
  resolve(1);
  t.equal(resolve(1), PRESENT);
  t.equal(resolve(1), MEMORY_ERROR);
  t.strictSame(failure, { unit: 1, cause: 'repeated', errno: 0 });
});

t.test('no-slow-gup: a page that cannot be brought back is a memory error', options, async (t) => {
  const trap = trapped(t);
  const { resolve, failure } = trap.resolver();
  resolve(1);
  madvise(trap.guestAddress(1), PAGE, MADV_DONTNEED);
  t.equal(trap.pte(1), 'none', 'it is in the file, and neither mapped nor marked');
  t.equal(resolve(1), PRESENT);
  t.equal(resolve(1), MEMORY_ERROR);
  t.strictSame(failure, { unit: 1, cause: 'populate', errno: EFAULT }, 'MADV_POPULATE_WRITE');
});

t.test('a source that fails poisons the page and maps nothing', options, async (t) => {
  const trap = trapped(t);
  const { resolve, failure } = trap.resolver({ source: noSource });
  t.equal(resolve(2), MEMORY_ERROR);
  t.strictSame(failure, { unit: 2, cause: 'source', errno: 0 });
  t.equal(trap.memory.states.stateOf(2), POISONED);
  t.equal(trap.pte(2), 'marker', 'a guest still traps on it');
  t.equal(resolve(2), MEMORY_ERROR);
  t.strictSame(failure, { unit: 2, cause: 'source', errno: 0 });
  t.equal(trap.resolver().resolve(2), MEMORY_ERROR, 'whoever asks');
});

t.test(
  'a page that leaves the file before it is continued is a memory error',
  options,
  async (t) => {
    const trap = trapped(t);
    const vanishing: PageSource = {
      ...noSource,
      fill: (page) => madvise(trap.aliasAddress(page), PAGE, MADV_REMOVE) === 0,
    };
    const { resolve, failure } = trap.resolver({ source: vanishing });
    t.equal(resolve(6), MEMORY_ERROR);
    t.strictSame(failure, { unit: 6, cause: 'map', errno: EFAULT });
    t.equal(trap.memory.states.stateOf(6), POISONED);
    t.not(trap.pte(6), 'present');
  },
);

for (const mapped of [[0], [1], [3], [0, 3], [1, 2]]) {
  t.test(`a unit of 4 pages is completed when ${mapped} were mapped`, options, async (t) => {
    const trap = trapped(t, 16, 4 * PAGE);
    for (const page of mapped) {
      trap.fill(4 + page);
      trap.uffd.continueRange(trap.guestAddress(4 + page), PAGE, PAGE);
    }
    t.equal(trap.resolver().resolve(1), INSTALLED);
    t.strictSame(trap.ptes().slice(4, 8), Array(4).fill('present'));
    t.strictSame(trap.ptes().slice(8), Array(8).fill('marker'), 'and nothing else');
    t.strictSame(trap.alias.words[0]!.slice(4 * 1024, 8 * 1024), expected(4, 4));
  });
}

t.test('a unit whose every page was mapped is present', options, async (t) => {
  const trap = trapped(t, 16, 4 * PAGE);
  trap.fill(4, 4);
  trap.uffd.continueRange(trap.guestAddress(4), 4 * PAGE, PAGE);
  t.equal(trap.resolver().resolve(1), PRESENT);
  t.equal(trap.memory.states.stateOf(1), MAPPED);
});

t.test('a unit with a hole in it is a memory error', options, async (t) => {
  const trap = trapped(t, 16, 4 * PAGE);
  const holed: PageSource = {
    ...noSource,
    fill: (page, words, first, count) =>
      SOURCE.fill(page, words, first, count) &&
      madvise(trap.aliasAddress(page + 2), PAGE, MADV_REMOVE) === 0,
  };
  const { resolve, failure } = trap.resolver({ source: holed });
  t.equal(resolve(0), MEMORY_ERROR);
  t.strictSame(failure, { unit: 0, cause: 'map', errno: EFAULT });
  t.equal(trap.memory.states.stateOf(0), POISONED);
});

t.test(
  'units of 2 MiB are resolved in every window of a large memory',
  {
    ...options,
    skip: skip || memorySkip(2.5 * 2 ** 30),
  },
  async (t) => {
    const pages = (2.5 * 2 ** 30) / PAGE;
    const trap = trapped(t, pages, 2 ** 21);
    const { resolve } = trap.resolver();
    for (const unit of [0, 511, 512, 1023, 1024, 1279]) {
      const first = unit * 512;
      t.equal(resolve(unit), INSTALLED);
      t.equal(pteAt(trap.guestAddress(first)), 'present', `first page of unit ${unit}`);
      t.equal(pteAt(trap.guestAddress(first + 511)), 'present', 'its last page');
      const bytes = trap.alias.read(first * PAGE, 2 ** 21);
      t.ok(
        Buffer.from(expected(first, 512).buffer).equals(bytes),
        'every byte of it comes from the source',
      );
    }
    t.equal(trap.memory.states.count(MAPPED), 6);
  },
);

t.test('a closed userfaultfd maps nothing, and is not taken for success', options, async (t) => {
  const trap = trapped(t);
  const { resolve, failure } = trap.resolver();
  t.equal(resolve(0), INSTALLED, 'which leaves 4096 in the argument as the result');
  trap.uffd.close();
  t.equal(resolve(1), MEMORY_ERROR);
  t.match(failure, { unit: 1, cause: 'map', errno: constants.errno.EBADF });
  t.equal(trap.memory.states.stateOf(1), POISONED);
});
