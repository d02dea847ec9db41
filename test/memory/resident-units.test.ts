import t from 'tap';
import { BACKINGS } from '../../src/memory/backing.js';
import { createDiscard } from '../../src/memory/discard.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { rangesOf, registerUnits } from '../../src/memory/resident-units.js';
import { trapMissing } from '../../src/memory/trap.js';
import type { UffdCalls } from '../../src/uffd/userfaultfd.js';
import { uffdSkip } from '../support/host.js';

const PAGE = 4096;

t.test('ranges are the runs of neighbours, in order, each unit once', async (t) => {
  t.strictSame(rangesOf([7, 3, 4, 3, 5, 9]), [
    { first: 3, end: 6 },
    { first: 7, end: 8 },
    { first: 9, end: 10 },
  ]);
  t.strictSame(rangesOf([]), []);
});

t.test('registering leaves resident units out, wherever the range begins and ends', async (t) => {
  const resident = rangesOf([2, 3, 6]);
  const asked: number[][] = [];
  const uffd = {
    register: (address: number, bytes: number) =>
      asked.push([(address - 0x10000) / PAGE, bytes / PAGE]),
  } as unknown as UffdCalls;
  const memory = { guestAddress: 0x10000, unitBytes: PAGE, resident } as never;
  const pagesOf = (first: number, count: number): number[][] => {
    asked.length = 0;
    registerUnits(memory, uffd, first * PAGE, count * PAGE, 1);
    return [...asked];
  };
  t.strictSame(pagesOf(0, 10), [
    [0, 2],
    [4, 2],
    [7, 3],
  ]);
  t.strictSame(pagesOf(3, 4), [[4, 2]]);
  t.strictSame(pagesOf(2, 2), []);
  t.strictSame(pagesOf(0, 2), [[0, 2]]);
  t.strictSame(pagesOf(7, 3), [[7, 3]]);
});

t.test('a discard that covers resident units is refused', { skip: uffdSkip() }, async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 16 * PAGE, PAGE);
  const {
    uffds: [uffd],
    trap,
  } = trapMissing(memory, true);
  t.teardown(() => uffd.close());
  memory.keepResident([4, 5], trap);
  const discard = createDiscard({
    memory: memory.layout,
    trap,
    stopping: () => false,
    bringIn: () => false,
  });
  t.throws(() => discard(3 * PAGE, 2 * PAGE), { code: 'usage', message: /covers the image/ });
  t.doesNotThrow(() => discard(0, 4 * PAGE));
  t.doesNotThrow(() => discard(6 * PAGE, 10 * PAGE));
});
