import { constants } from 'node:os';
import t from 'tap';
import { INSTALLED, MEMORY_ERROR, PRESENT } from '../../src/fault/outcome.js';
import { fallocate, ftruncate } from '../../src/ffi/libc.js';
import { SYSCALLS } from '../../src/measure/counters.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { heldBytes } from '../../src/memory/discard-matrix/held-memory.js';
import { openAccess } from '../../src/memory/guest-access.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from '../../src/uapi/mman.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { GuestPages } from '../support/guest-pages.js';
import { uffdSkip } from '../support/host.js';
import { withHugetlbPages } from '../support/hugetlb.js';
import { installerFor, PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

eachBacking('a run is filled, then mapped, and nothing else', options, (t, backing, bytes) => {
  using trap = new TrappedMemory('exit', bytes / PAGE, backing.pageBytes, backing);
  const view = new GuestPages(trap.memory.layout);
  const { fill, map } = trap.installer({ mostUnits: 2 });
  t.ok(fill(1, 2));
  t.strictSame(view.units(), Array(4).fill('EFAULT'), 'a fill maps nothing');
  t.equal(map(1, 2), INSTALLED);
  t.strictSame(view.units(), ['EFAULT', 'source', 'source', 'EFAULT']);
  const { file, own } = heldBytes(trap.memory);
  t.equal(file || own, 2 * backing.pageBytes, 'no more memory is taken than that');
  t.equal(trap.counters[SYSCALLS], backing.fill === 'copy' ? 1 : 2);
});

eachBacking('a run of which a part is mapped is completed', options, (t, backing, bytes) => {
  using trap = new TrappedMemory('exit', bytes / PAGE, backing.pageBytes, backing);
  const view = new GuestPages(trap.memory.layout);
  const { fill, map } = trap.installer({ mostUnits: 4 });
  fill(1, 1);
  map(1, 1);
  view.write(backing.pageBytes, new Uint8Array([1, 2, 3]));
  if (backing.fill === 'copy') {
    t.ok(fill(0, 4)); // of others it would overwrite what the guest has written
  } else {
    t.ok(fill(0, 1) && fill(2, 2));
  }
  t.equal(map(0, 4), INSTALLED);
  t.strictSame(
    [0, 2, 3].map((unit) => view.unit(unit)),
    ['source', 'source', 'source'],
  );
  t.strictSame(view.bytes(backing.pageBytes, 3), new Uint8Array([1, 2, 3]), 'left alone');
  t.equal(map(0, 4), PRESENT, 'all was there');
});

eachBacking('a source that fails maps nothing', options, (t, backing, bytes) => {
  using trap = new TrappedMemory('exit', bytes / PAGE, backing.pageBytes, backing);
  const source = { fill: () => false, compare: () => -1 };
  const { fill, failure } = trap.installer({ source });
  failure.errno = 1;
  t.notOk(fill(0, 1));
  t.strictSame(failure, { cause: 'source', errno: 0, mappedBytes: 0 });
  t.equal(new GuestPages(trap.memory.layout).unit(0), 'EFAULT');
});

eachBacking('where nothing is trapped, the guest finds it', options, (t, backing, bytes) => {
  using memory = GuestMemory.create(backing, bytes, backing.pageBytes);
  const { fill, map } = installerFor(memory, { mostUnits: 2 });
  t.ok(fill(1, 2));
  t.equal(map(1, 2), INSTALLED);
  const view = new GuestPages(memory.layout);
  t.strictSame([view.unit(1), view.unit(2)], ['source', 'source']);
  t.equal(openAccess(memory.layout).read(backing.pageBytes, 4).length, 4);
});

t.test('memory that its file no longer has is a failure to allocate', options, async (t) => {
  using trap = new TrappedMemory('exit', 4, PAGE, { ...BACKINGS.shmem, truncatable: true });
  const { fill, failure } = trap.installer();
  t.ok(fill(3, 1));
  ftruncate(trap.memory.layout.fd, 2 * PAGE);
  t.notOk(fill(3, 1), 'where a store would be SIGBUS');
  t.strictSame(failure, { cause: 'allocate', errno: constants.errno.EFAULT, mappedBytes: 0 });
  t.ok(fill(1, 1));
});

t.test(
  'a page that has left the file before it is mapped is a failure to map',
  options,
  async (t) => {
    using trap = new TrappedMemory('exit');
    const { fill, map, failure } = trap.installer({ mostUnits: 4 });
    t.ok(fill(4, 4));
    const punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    fallocate(trap.memory.layout.fd, punch, 6 * PAGE, PAGE);
    t.equal(map(4, 4), MEMORY_ERROR);
    const mappedBytes = 2 * PAGE; // those before it
    t.strictSame(failure, { cause: 'map', errno: constants.errno.EFAULT, mappedBytes });
  },
);

for (const name of ['hugetlb-2M', 'hugetlb-private-2M'] as const) {
  t.test(`${name}: a pool that has run dry is an error, not a signal`, options, async (t) => {
    if (!withHugetlbPages(t, HUGE_PAGE_BYTES, 1)) {
      return;
    }
    const pages = (512 * HUGE_PAGE_BYTES) / PAGE; // more than any pool of a test host
    using trap = new TrappedMemory('exit', pages, HUGE_PAGE_BYTES, BACKINGS[name], {
      reserve: false,
    });
    const { fill, map, failure } = trap.installer();
    let unit = 0;
    while (fill(unit, 1) && map(unit, 1) === INSTALLED) {
      unit++;
    }
    t.ok(unit >= 1, `${unit} units were to be had`);
    t.equal(failure.cause, name === 'hugetlb-2M' ? 'allocate' : 'map');
    t.ok(failure.errno > 0, `errno ${failure.errno}`);
    const view = new GuestPages(trap.memory.layout);
    t.strictSame([view.unit(unit - 1), view.page(unit * 512)], ['source', 'EFAULT']);
  });
}
