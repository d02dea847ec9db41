import t from 'tap';
import { INSTALLED } from '../../src/fault/outcome.js';
import { UnsupportedError, UsageError } from '../../src/ffi/errors.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { freedBytes, heldBytes } from '../../src/memory/discard-matrix/held-memory.js';
import { lockOnFault } from '../../src/memory/discard-matrix/lock.js';
import { MAPPED, MISSING, POISONED } from '../../src/memory/page-states.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { setUp } from '../support/discard-setup.js';
import { uffdSkip } from '../support/host.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { expected, PAGE, Sink } from '../support/trapped-memory.js';

const skip = uffdSkip(UFFD_FEATURE_POISON);
const options = { skip, timeout: 60_000 };
const MOST_ATTEMPTS = 10;
const STAMP = new Uint8Array(16).fill(0x67);

eachBacking('is freed, faults, and comes back from the source', options, (t, backing, bytes) => {
  const { trap, view, discard, unitBytes, bringIn, states, pagesPerUnit } = setUp(
    t,
    backing,
    bytes,
  );
  bringIn(0, 1, 2, 3);
  for (const unit of [0, 1, 2, 3]) {
    view.write(unit * unitBytes, STAMP);
  }
  const before = heldBytes(trap.memory);
  t.strictSame(discard(unitBytes, 2 * unitBytes), { units: 2, zeroedBytes: 0 });
  const { file, own } = freedBytes(before, heldBytes(trap.memory));
  t.equal(file, backing.alias ? 2 * unitBytes : backing.file.kind === 'anonymous' ? null : 0);
  t.equal(own, backing.sharing === 'private' ? 2 * unitBytes : null, 'private copies');
  t.strictSame([view.unit(1), view.unit(2)], ['EFAULT', 'EFAULT'], 'the next touch faults');
  t.strictSame(states(), [MAPPED, MISSING, MISSING, MAPPED]);
  if (!backing.hugetlb) {
    t.strictSame(trap.ptes().slice(1, 3), ['marker', 'marker'], 'with an address for KVM');
  }
  for (const unit of [0, 3]) {
    t.strictSame(view.bytes(unit * unitBytes, 16), STAMP, 'outside, the guest reads what it wrote');
    t.equal(view.page(unit * pagesPerUnit), 'other');
  }
  bringIn(1, 2);
  t.strictSame([view.unit(1), view.unit(2)], ['source', 'source'], 'what it wrote is gone');
});

eachBacking(
  'hugetlb pages go back to their pool',
  { ...options, of: ({ hugetlb }) => hugetlb },
  (t, backing, bytes) => {
    const { trap, discard, unitBytes, bringIn } = setUp(t, backing, bytes);
    bringIn(0, 1);
    const before = heldBytes(trap.memory);
    discard(0, unitBytes);
    t.equal(freedBytes(before, heldBytes(trap.memory)).pool, unitBytes);
  },
);

eachBacking(
  'what is missing or poisoned in the range is missing after',
  options,
  (t, backing, bytes) => {
    const { trap, view, discard, bringIn, states } = setUp(t, backing, bytes);
    bringIn(1);
    trap.memory.states.words[2] = POISONED;
    t.strictSame(discard(0, bytes), { units: 1, zeroedBytes: 0 }, 'only mapped units count');
    t.strictSame(states(), [MISSING, MISSING, MISSING, MISSING]);
    t.strictSame(view.units(), Array(4).fill('EFAULT'));
    bringIn(0, 1, 2, 3);
    t.strictSame(view.units(), Array(4).fill('source'));
    t.strictSame(discard(0, bytes).units, 4, 'and again');
    t.strictSame(discard(0, bytes).units, 0);
  },
);

eachBacking('a locked guest mapping is no obstacle', options, (t, backing, bytes) => {
  const { trap, view, discard, unitBytes, bringIn } = setUp(t, backing, bytes);
  bringIn(0, 1, 2, 3); // 6.18 faults all hugetlb pages in that are locked
  lockOnFault(trap.memory.layout.guestAddress, bytes);
  t.equal(discard(0, unitBytes).units, 1);
  t.strictSame(view.units().slice(0, 2), ['EFAULT', 'source']);
  bringIn(0);
  t.equal(view.unit(0), 'source');
});

eachBacking('a range outside memory is refused', options, (t, backing, bytes) => {
  const { discard, unitBytes, bringIn, states } = setUp(t, backing, bytes);
  bringIn(3);
  for (const [start, length] of [
    [-unitBytes, unitBytes],
    [0, bytes + unitBytes],
    [bytes - unitBytes, 2 * unitBytes],
    [bytes + unitBytes, unitBytes],
    [2 ** 53, unitBytes],
    [unitBytes, -unitBytes],
    [Number.NaN, unitBytes],
    [0, Number.NaN],
    [0.5, unitBytes],
    [0, Infinity],
  ] as const) {
    t.throws(() => discard(start, length), UsageError, `${length} at ${start}`);
    t.throws(() => discard(start, length), { message: /lies outside guest memory/ });
  }
  t.strictSame(states(), [MISSING, MISSING, MISSING, MAPPED]);
  t.strictSame(discard(0, 0), { units: 0, zeroedBytes: 0 }, 'an empty range is none');
  t.strictSame(discard(bytes, 0), { units: 0, zeroedBytes: 0 });
});

t.test('where nothing is trapped, nothing is discarded', options, async (t) => {
  const { discard, bringIn, view } = setUp(t, BACKINGS.shmem, 4 * PAGE, {
    context: { trap: null },
  });
  bringIn(0);
  t.throws(() => discard(0, PAGE), UnsupportedError);
  t.throws(() => discard(0, PAGE), { message: /not trapped/, hint: /--delivery handler or exit/ });
  t.equal(view.unit(0), 'source');
});

eachBacking(
  'one unit of a block leaves the others readable, also where the file has large pages',
  { ...options, bytes: () => 2 * HUGE_PAGE_BYTES, of: ({ hugetlb }) => !hugetlb },
  (t, backing, bytes) => {
    const wanted = Array.from({ length: 64 }, (_, unit) =>
      unit === 5 || unit >= 48 ? 'EFAULT' : 'source',
    );
    // The kernel itself may go on taking entries of a huge page that was split (kcompactd moves its
    // parts), which a vCPU's next fault puts back. Then it is tried again, from the beginning.
    let found: string[] = [];
    let ptes: string[] = [];
    for (let attempt = 0; attempt < (backing.hugeFile ? MOST_ATTEMPTS : 1); attempt++) {
      const { trap, view, discard } = setUp(t, backing, bytes, { unitBytes: 65536 });
      const { resolve, failure } = trap.resolver();
      for (let unit = 0; unit < 48; unit++) {
        t.equal(resolve(unit), INSTALLED, `unit ${unit}: ${JSON.stringify(failure)}`);
      }
      t.strictSame(discard(5 * 65536, 65536), { units: 1, zeroedBytes: 0 });
      found = view.units();
      ptes = trap.ptes();
      t.equal(resolve(5), INSTALLED, JSON.stringify(failure));
      t.equal(view.unit(5), 'source');
      if (!found.some((what, unit) => what !== wanted[unit]) && !ptes.includes('none')) {
        break;
      }
    }
    t.strictSame(found, wanted);
    if (backing.sharing === 'shared') {
      t.ok(
        ptes.every((pte, page) => (pte === 'present') === (wanted[page >> 4] === 'source')),
        'what is there has an entry, what is not has a marker',
      );
    }
  },
);

t.test('a range larger than a batch is discarded whole', options, async (t) => {
  const unitBytes = 2 ** 18;
  const { discard, bringIn, states, view, trap } = setUp(t, BACKINGS.shmem, 40 * 2 ** 20, {
    unitBytes,
  });
  bringIn(...Array.from({ length: 160 }, (_, unit) => unit));
  t.strictSame(discard(unitBytes, 158 * unitBytes), { units: 158, zeroedBytes: 0 });
  t.strictSame(states(), [MAPPED, ...Array(158).fill(MISSING), MAPPED]);
  t.equal(heldBytes(trap.memory).file, 2 * unitBytes);
  t.strictSame(
    [0, 1, 64, 65, 158, 159].map((unit) => view.unit(unit)),
    ['source', 'EFAULT', 'EFAULT', 'EFAULT', 'EFAULT', 'source'],
  );
});

eachBacking(
  'in handler delivery the next touch sleeps, and gets the source',
  options,
  async (t, backing, bytes) => {
    const { trap, discard, unitBytes, bringIn } = setUp(t, backing, bytes, { delivery: 'handler' });
    const sink = new Sink();
    const thread = new SyscallThread();
    t.teardown(async () => {
      trap.uffd.close(); // wakes whoever still sleeps
      await thread.end();
      sink.close();
    });
    bringIn(0, 1);
    t.equal(discard(unitBytes, unitBytes).units, 1);
    const { guestAddress } = trap.memory.layout;
    const write = thread.call('write', sink.fd, guestAddress + unitBytes, PAGE);
    t.ok(trap.faultIsPending(), 'a thread sleeps on it');
    t.equal(trap.resolver({ caller: 'handler', sleepers: true }).resolve(1), INSTALLED);
    t.match(await write, { result: PAGE });
    t.strictSame(sink.words(), expected(unitBytes / PAGE));
  },
);
