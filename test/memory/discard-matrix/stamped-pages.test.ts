import t from 'tap';
import { Mapping } from '../../../src/ffi/mapping.js';
import { StampedPages } from '../../../src/memory/discard-matrix/stamped-pages.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_NONE } from '../../../src/uapi/mman.js';

const PAGE = 4096;
const HUGE = 512 * PAGE;

t.test('a stamp is found again at both ends of a page, small or huge', async (t) => {
  for (const bytes of [PAGE, HUGE]) {
    using memory = Mapping.scratch(2 * bytes);
    const pages = new StampedPages(bytes);
    t.equal(pages.stampOf(memory.address), 0);
    pages.stamp(memory.address, 7);
    t.equal(pages.stampOf(memory.address), 7);
    t.equal(pages.stampOf(memory.address + bytes), 0, 'the next page is as it was');
  }
});

t.test('a page with other bytes in it, or of two stamps, has none', async (t) => {
  using memory = Mapping.scratch(HUGE);
  const huge = new StampedPages(HUGE);
  const small = new StampedPages(PAGE);
  small.stamp(memory.address, 7);
  t.equal(huge.stampOf(memory.address), 'other');
  small.stamp(memory.address + HUGE - PAGE, 7);
  t.equal(huge.stampOf(memory.address), 7);
  small.stamp(memory.address, 9);
  small.touchToWrite(memory.address + 1);
  t.equal(huge.stampOf(memory.address), 'other');
});

t.test('what cannot be read is an errno, not a signal', async (t) => {
  using memory = Mapping.create(PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  const pages = new StampedPages(PAGE);
  t.equal(pages.stampOf(memory.address), 'unreadable');
  t.not(pages.touch(memory.address), 0);
  t.not(pages.touchToWrite(memory.address), 0);
  t.throws(() => pages.stamp(memory.address, 7), { code: 'syscall' });
});
