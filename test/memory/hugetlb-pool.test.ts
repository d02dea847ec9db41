import { execFileSync } from 'node:child_process';
import t from 'tap';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import {
  availablePages,
  growCommand,
  type HugetlbPool,
  readHugetlbPool,
} from '../../src/memory/hugetlb-pool.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { withHugetlbPages } from '../support/hugetlb.js';

const POOL: HugetlbPool = { total: 10, free: 6, reserved: 4, surplus: 1, overcommit: 3 };

t.test('a size that the kernel does not have is no pool', async (t) => {
  t.equal(readHugetlbPool(4096), null);
  t.equal(readHugetlbPool(3 * HUGE_PAGE_BYTES), null);
});

t.test('available are free pages that nobody was promised, and surplus ones', async (t) => {
  t.equal(availablePages(POOL), 2 + 2);
  t.equal(availablePages({ ...POOL, overcommit: 0 }), 2, 'more surplus than may be is none left');
  t.equal(availablePages({ ...POOL, reserved: 6, overcommit: 1 }), 0);
});

t.test('the command asks for what is missing beyond what is configured', async (t) => {
  t.equal(
    growCommand(HUGE_PAGE_BYTES, POOL, 5),
    'echo 14 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages',
  );
  t.match(growCommand(2 ** 30, POOL, 1), /hugepages-1048576kB/);
});

t.test('memory that reserves takes its pages at once, and gives them back', async (t) => {
  if (!withHugetlbPages(t, HUGE_PAGE_BYTES, 3)) {
    return;
  }
  const before = readHugetlbPool(HUGE_PAGE_BYTES)!;
  const memory = GuestMemory.create(BACKINGS['hugetlb-2M'], 3 * HUGE_PAGE_BYTES, HUGE_PAGE_BYTES);
  const during = readHugetlbPool(HUGE_PAGE_BYTES)!;
  t.equal(during.reserved, before.reserved + 3);
  t.equal(availablePages(during), availablePages(before) - 3);
  t.strictSame(memory.hugetlb, {
    pageBytes: HUGE_PAGE_BYTES,
    wanted: 3,
    before,
    created: during,
  });
  memory.close();
  t.strictSame(readHugetlbPool(HUGE_PAGE_BYTES), before);
});

t.test('the command that is advised makes the pages available', async (t) => {
  if (!withHugetlbPages(t, HUGE_PAGE_BYTES, 1)) {
    return;
  }
  const before = readHugetlbPool(HUGE_PAGE_BYTES)!;
  execFileSync('sh', ['-c', growCommand(HUGE_PAGE_BYTES, before, 2)]);
  const after = readHugetlbPool(HUGE_PAGE_BYTES)!;
  t.equal(availablePages(after), availablePages(before) + 2);
});
