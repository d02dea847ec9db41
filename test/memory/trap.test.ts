import t from 'tap';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { trapMissing } from '../../src/memory/trap.js';
import { UFFD_FEATURE_POISON, UFFDIO_REGISTER_MODE_WP } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { GuestPages } from '../support/guest-pages.js';
import { uffdSkip } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';
import { PAGE, pteAt } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

eachBacking('marked: every page has a marker, and faults', options, (t, backing, bytes) => {
  using memory = GuestMemory.create(backing, bytes, backing.pageBytes);
  const {
    uffds: [uffd],
    trap,
  } = trapMissing(memory, true);
  t.teardown(() => uffd.close());
  t.match(trap, { uffds: { fds: [uffd.fd] }, marked: true });
  t.equal(trap.modes & backing.uffdModes, backing.uffdModes);
  t.equal((trap.modes & UFFDIO_REGISTER_MODE_WP) !== 0, !backing.hugetlb);
  t.strictSame(new GuestPages(memory.layout).units(), Array(4).fill('EFAULT'));
  if (!backing.hugetlb) {
    t.equal(pteAt(memory.layout.guestAddress), 'marker');
    t.equal(pteAt(memory.layout.guestAddress + bytes - PAGE), 'marker');
  }
});

eachBacking('unmarked: nothing is in the guest mapping', options, (t, backing, bytes) => {
  using memory = GuestMemory.create(backing, bytes, backing.pageBytes);
  const {
    uffds: [uffd],
    trap,
  } = trapMissing(memory, false);
  t.teardown(() => uffd.close());
  t.equal(trap.marked, false);
  t.equal(pteAt(memory.layout.guestAddress), 'none');
});

t.test(
  'memory that is in use already cannot be marked, and nothing stays open',
  options,
  async (t) => {
    const before = openDescriptors();
    using memory = GuestMemory.create(BACKINGS['anon-private'], 4 * PAGE, PAGE);
    new GuestPages(memory.layout).write(PAGE, new Uint8Array([1]));
    t.throws(() => trapMissing(memory, true), { code: 'defect', message: /not empty/ });
    t.strictSame(openDescriptors(), before);
  },
);
