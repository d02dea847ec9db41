import { collapseBlock } from '../../src/memory/collapse.js';
import { hugeMappedBytes } from '../../src/memory/huge-pages.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { uffdSkip } from '../support/host.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = {
  skip: uffdSkip(UFFD_FEATURE_POISON),
  timeout: 20_000,
  bytes: () => 2 * HUGE_PAGE_BYTES,
};

eachBacking(
  'counts what huge page table entries map, and no more',
  options,
  (t, backing, bytes) => {
    using trap = new TrappedMemory('exit', bytes / PAGE, HUGE_PAGE_BYTES, backing);
    const { guestAddress } = trap.memory.layout;
    const mapped = (): number => hugeMappedBytes(guestAddress, bytes);
    t.equal(mapped(), 0);
    trap.resolver().resolve(1);
    t.equal(
      mapped(),
      backing.hugetlb ? HUGE_PAGE_BYTES : 0,
      'a unit of 512 pages is not a huge page',
    );
    if (backing.collapsible) {
      t.match(
        collapseBlock(trap.memory.layout, trap.trap, 1, () => false),
        { outcome: 'collapsed' },
      );
      t.equal(mapped(), HUGE_PAGE_BYTES);
    }
    t.equal(hugeMappedBytes(guestAddress + bytes, bytes), 0, 'of that range only');
  },
);
