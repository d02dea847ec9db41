/**
 * What the fault path relies on, asked of the running kernel: the next one may answer otherwise. The
 * guest mapping is touched by system calls in another thread, never by JavaScript.
 */
import { constants } from 'node:os';
import t from 'tap';
import { WakeEvent } from '../../src/ffi/descriptor.js';
import { errno, ioctl, madvise } from '../../src/ffi/libc.js';
import { scratch } from '../../src/ffi/scratch.js';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MADV_DONTNEED,
  MADV_POPULATE_WRITE,
} from '../../src/uapi/mman.js';
import {
  UFFD_FEATURE_POISON,
  UFFDIO_CONTINUE,
  UFFDIO_POISON,
  uffdio_continue,
} from '../../src/uapi/userfaultfd.js';
import { uffdSkip } from '../support/host.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { expected, PAGE, Sink, TrappedMemory } from '../support/trapped-memory.js';

const { EEXIST, EFAULT } = constants.errno;
const EHWPOISON = 133;
const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

/** One ioctl of a range of pages: what it returned, its errno, and what it says it has done. */
function advance(trap: TrappedMemory, request: number, page: number, pages = 1) {
  scratch.setU64(0, trap.guestAddress(page));
  scratch.setU64(8, pages * PAGE);
  scratch.setU64(16, 0);
  scratch.setU64(24, 0);
  const result = ioctl(trap.uffd.fd, request, scratch.address);
  const error = result < 0 ? errno() : 0;
  return { error, done: scratch.getS64(uffdio_continue.offset.mapped) };
}

function trapped(t: { teardown(close: () => void): void }, delivery: 'exit' | 'handler' = 'exit') {
  const trap = new TrappedMemory(delivery);
  t.teardown(() => trap.close());
  return trap;
}

t.test(
  'the second CONTINUE of a page is EEXIST, and says so in its result too',
  options,
  async (t) => {
    const trap = trapped(t, 'handler');
    trap.fill(1);
    t.strictSame(advance(trap, UFFDIO_CONTINUE, 1), { error: 0, done: PAGE });
    t.strictSame(advance(trap, UFFDIO_CONTINUE, 1), { error: EEXIST, done: -EEXIST });
  },
);

t.test('CONTINUE stops before a mapped page with what it has done', options, async (t) => {
  const trap = trapped(t);
  trap.fill(0, 4);
  advance(trap, UFFDIO_CONTINUE, 2);
  const { error, done } = advance(trap, UFFDIO_CONTINUE, 0, 4);
  t.strictSame({ error, done }, { error: constants.errno.EAGAIN, done: 2 * PAGE });
  t.strictSame(trap.ptes().slice(0, 4), ['present', 'present', 'present', 'marker']);
});

t.test(
  'CONTINUE of a page that is not in the page cache is EFAULT: it allocates none',
  options,
  async (t) => {
    const trap = trapped(t);
    t.strictSame(advance(trap, UFFDIO_CONTINUE, 1), { error: EFAULT, done: -EFAULT });
    t.equal(trap.pte(1), 'marker');
  },
);

t.test('CONTINUE replaces a trap marker', options, async (t) => {
  const trap = trapped(t);
  trap.fill(1);
  t.equal(trap.pte(1), 'marker');
  t.match(advance(trap, UFFDIO_CONTINUE, 1), { error: 0 });
  t.equal(trap.pte(1), 'present');
});

t.test('POISON refuses a page that is mapped, and one that is marked', options, async (t) => {
  const trap = trapped(t);
  t.match(advance(trap, UFFDIO_POISON, 2), { error: EEXIST });
  trap.fill(1);
  advance(trap, UFFDIO_CONTINUE, 1);
  t.match(advance(trap, UFFDIO_POISON, 1), { error: EEXIST });
  t.equal(trap.pte(1), 'present');
});

t.test(
  'a system call given a trapped page fails: it neither sleeps nor kills',
  options,
  async (t) => {
    const trap = trapped(t);
    using sink = new Sink();
    const thread = new SyscallThread();
    t.teardown(() => thread.end());
    using event = new WakeEvent();
    event.signal();
    for (const answer of [
      await thread.call('write', sink.fd, trap.guestAddress(3), 16),
      await thread.call('read', event.fd, trap.guestAddress(3), 8),
    ]) {
      t.equal(answer.result, -1);
      t.ok([EFAULT, EHWPOISON].includes(answer.errno), `errno ${answer.errno}`);
    }
    t.equal(trap.pte(3), 'marker', 'the page still traps');
  },
);

t.test('a missing page without a marker is EFAULT too: it fails closed', options, async (t) => {
  const trap = trapped(t);
  using sink = new Sink();
  const thread = new SyscallThread();
  t.teardown(() => thread.end());
  trap.fill(3);
  advance(trap, UFFDIO_CONTINUE, 3);
  t.equal(madvise(trap.guestAddress(3), PAGE, MADV_DONTNEED), 0);
  t.equal(trap.pte(3), 'none');
  t.strictSame(await thread.call('write', sink.fd, trap.guestAddress(3), 16), {
    result: -1,
    errno: EFAULT,
    thrown: null,
  });
});

t.test(
  'MADV_POPULATE_WRITE: a marker is EHWPOISON, no marker is EFAULT, mapped is 0',
  options,
  async (t) => {
    const trap = trapped(t);
    const populate = (page: number): number =>
      madvise(trap.guestAddress(page), PAGE, MADV_POPULATE_WRITE) < 0 ? errno() : 0;
    t.equal(populate(1), EHWPOISON);
    trap.fill(2);
    advance(trap, UFFDIO_CONTINUE, 2);
    t.equal(populate(2), 0);
    madvise(trap.guestAddress(2), PAGE, MADV_DONTNEED);
    t.equal(populate(2), EFAULT);
  },
);

t.test('MADV_DONTNEED of shared memory unmaps and keeps the data', options, async (t) => {
  const trap = trapped(t);
  trap.fill(4);
  advance(trap, UFFDIO_CONTINUE, 4);
  madvise(trap.guestAddress(4), PAGE, MADV_DONTNEED);
  t.strictSame(trap.alias.words[0]!.slice(4 * 1024, 5 * 1024), expected(4));
  t.match(advance(trap, UFFDIO_CONTINUE, 4), { error: 0 });
});

t.test('a punched hole: markers stay, mapped pages become none', options, async (t) => {
  const trap = trapped(t);
  const thread = new SyscallThread();
  t.teardown(() => thread.end());
  trap.fill(4);
  advance(trap, UFFDIO_CONTINUE, 4);
  const mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
  const { fd } = trap.memory.layout;
  t.match(await thread.call('fallocate', fd, mode, 3 * PAGE, 3 * PAGE), { result: 0 });
  t.strictSame(trap.ptes().slice(3, 6), ['marker', 'none', 'marker']);
});
