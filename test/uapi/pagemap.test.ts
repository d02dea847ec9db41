/** No header defines the bits of a pagemap entry, so the running kernel is asked for some. */
import t from 'tap';
import { MADV_GUARD_INSTALL } from '../../src/uapi/mman.js';
import {
  PM_FILE,
  PM_GUARD_REGION,
  PM_MMAP_EXCLUSIVE,
  PM_PRESENT,
  PM_SWAP,
  PM_UFFD_WP,
} from '../../src/uapi/pagemap.js';
import { evaluate, missing } from './c-probe.js';

const HEADERS = ['fcntl.h', 'sys/mman.h'];
const ALL = [PM_FILE, PM_GUARD_REGION, PM_MMAP_EXCLUSIVE, PM_PRESENT, PM_SWAP, PM_UFFD_WP];

/** The entry of a fresh page after `then` has been done to it; 0 if that failed. */
const entryAfter = (visibility: 'MAP_PRIVATE' | 'MAP_SHARED', then: string): string =>
  `({ unsigned char *page = mmap(0, 4096, 3, ${visibility} | MAP_ANONYMOUS, -1, 0); ` +
  `unsigned long long entry = 0; if (${then}) { int fd = open("/proc/self/pagemap", O_RDONLY); ` +
  'pread(fd, &entry, 8, (unsigned long)page / 4096 * 8); close(fd); } entry; })';

t.test('the bits of an entry', { skip: missing(HEADERS) }, async (t) => {
  const entries = evaluate(
    t.testdir(),
    HEADERS,
    new Map([
      ['untouched', entryAfter('MAP_PRIVATE', '1')],
      ['private', entryAfter('MAP_PRIVATE', '(*page = 1)')],
      ['shared', entryAfter('MAP_SHARED', '(*page = 1)')],
      ['guard', entryAfter('MAP_PRIVATE', `!madvise(page, 4096, ${MADV_GUARD_INSTALL})`)],
    ]),
  );
  const bits = (label: string): number =>
    ALL.filter((bit) => (entries.get(label)! & BigInt(bit)) !== 0n).reduce((a, b) => a + b, 0);

  t.equal(bits('untouched'), 0);
  t.equal(bits('private'), PM_PRESENT + PM_MMAP_EXCLUSIVE);
  t.equal(bits('shared'), PM_PRESENT + PM_MMAP_EXCLUSIVE + PM_FILE);
  t.test('a guard region', { skip: bits('guard') === 0 && 'before Linux 6.13' }, async (t) => {
    t.equal(bits('guard'), PM_SWAP + PM_GUARD_REGION, 'since Linux 6.15');
  });
});
