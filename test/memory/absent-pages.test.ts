import t from 'tap';
import { eachAbsentRange } from '../../src/memory/absent-pages.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { uffdSkip } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

/** What is absent, in pages from the start of memory. */
function absent(trap: TrappedMemory, first: number, pages: number): number[][] {
  const { guestAddress } = trap.memory.layout;
  const found: number[][] = [];
  eachAbsentRange(guestAddress + first * PAGE, pages * PAGE, (address, bytes) => {
    found.push([(address - guestAddress) / PAGE, bytes / PAGE]);
  });
  return found;
}

t.test('entries that are empty, and neither pages nor markers', options, async (t) => {
  using trap = new TrappedMemory('exit');
  t.strictSame(absent(trap, 0, 16), [], 'every page has a marker');
  const { resolve } = trap.resolver();
  resolve(3);
  trap.forget(2, 3 * PAGE);
  trap.forget(9, PAGE);
  t.strictSame(absent(trap, 0, 16), [
    [2, 3],
    [9, 1],
  ]);
  t.strictSame(trap.ptes().slice(2, 5), ['none', 'none', 'none'], 'and they stay so');
});

t.test('cut to the range asked for', options, async (t) => {
  using trap = new TrappedMemory('exit');
  trap.forget(2, 8 * PAGE);
  t.strictSame(absent(trap, 4, 2), [[4, 2]]);
  t.strictSame(absent(trap, 0, 3), [[2, 1]]);
  t.strictSame(absent(trap, 9, 7), [[9, 1]]);
  t.strictSame(absent(trap, 10, 6), []);
  t.strictSame(absent(trap, 3, 0), []);
});

t.test('more of them than the kernel is asked for at a time', options, async (t) => {
  using trap = new TrappedMemory('exit', 1024);
  for (let page = 1; page < 1024; page += 2) {
    trap.forget(page, PAGE);
  }
  t.strictSame(
    absent(trap, 0, 1024),
    Array.from({ length: 512 }, (_, hole) => [2 * hole + 1, 1]),
  );
});

t.test('memory that was never touched is absent as a whole', options, async (t) => {
  using trap = new TrappedMemory('handler', 4096);
  const before = openDescriptors();
  const found = absent(trap, 0, 4096);
  t.equal(
    found.reduce((pages, [, count]) => pages + count!, 0),
    4096,
  );
  t.equal(found[0]![0], 0);
  t.strictSame(openDescriptors(), before);
});
