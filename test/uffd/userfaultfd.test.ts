import { constants } from 'node:os';
import t from 'tap';
import { SyscallError, UnsupportedError } from '../../src/ffi/errors.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import {
  UFFD_FEATURE_MINOR_SHMEM,
  UFFD_FEATURE_MISSING_SHMEM,
  UFFD_FEATURE_POISON,
  UFFD_FEATURE_RWP,
  UFFD_FEATURE_RWP_ASYNC,
  UFFDIO_REGISTER_MODE_MINOR,
} from '../../src/uapi/userfaultfd.js';
import { missingFeatures, UFFD_FEATURES } from '../../src/uffd/features.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';
import { rootSkip, uffdSkip, unprivileged } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

const { EINVAL } = constants.errno;
const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

t.test('the handshake tells what the kernel offers', options, async (t) => {
  using uffd = Userfaultfd.open(UFFD_FEATURE_MINOR_SHMEM);
  const wanted = UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_POISON;
  t.equal(uffd.offered & wanted, wanted, 'also of features not asked for');
  using plain = Userfaultfd.open();
  t.equal(plain.offered, uffd.offered);
});

t.test(
  'a feature that this kernel lacks is named',
  {
    ...options,
    skip: options.skip || (uffdSkip(UFFD_FEATURE_RWP) === false && 'this kernel has RWP'),
  },
  async (t) => {
    const before = openDescriptors();
    const open = (): Userfaultfd => Userfaultfd.open(UFFD_FEATURE_RWP | UFFD_FEATURE_MINOR_SHMEM);
    t.throws(open, UnsupportedError);
    t.throws(open, {
      code: 'unsupported',
      message: 'userfaultfd of this kernel lacks RWP',
      hint: /newer kernel/,
    });
    t.throws(() => Userfaultfd.open(UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC), {
      message: /lacks RWP, RWP_ASYNC$/,
    });
    t.strictSame(openDescriptors(), before, 'nothing stays open');
  },
);

t.test('without permission it says what to do', { skip: rootSkip() }, async (t) => {
  const open = (): Userfaultfd => unprivileged(() => Userfaultfd.open());
  try {
    open().close();
    t.pass('this host allows it to everybody');
  } catch (error) {
    t.ok(error instanceof UnsupportedError);
    t.match(error, { message: /EACCES.*EPERM/, hint: /root.*\/dev\/userfaultfd.*sysctl/ });
  }
});

t.test('features have their kernel names, in bit order', async (t) => {
  t.strictSame(UFFD_FEATURES[0], ['PAGEFAULT_FLAG_WP', 1]);
  t.strictSame(
    UFFD_FEATURES.map(([, bit]) => bit),
    UFFD_FEATURES.map((_, index) => 2 ** index),
  );
  t.strictSame(missingFeatures(0b101, 0b111), ['EVENT_FORK']);
  t.strictSame(missingFeatures(0b111, 0b101), []);
});

t.test('continueRange completes a range of which pages are mapped', options, async (t) => {
  const trap = new TrappedMemory('exit');
  t.teardown(() => trap.close());
  for (let page = 2; page < 12; page++) {
    trap.fill(page);
  }
  for (const page of [2, 5, 6, 11]) {
    trap.uffd.continueRange(trap.guestAddress(page), PAGE, PAGE);
  }
  const mapped = trap.uffd.continueRange(trap.guestAddress(2), 10 * PAGE, PAGE);
  t.equal(mapped, 6 * PAGE, 'it says how many bytes it has mapped');
  const present = trap.ptes().map((pte) => pte === 'present');
  t.strictSame(
    present,
    present.map((_, page) => page >= 2 && page < 12),
  );
  t.equal(trap.uffd.continueRange(trap.guestAddress(2), 10 * PAGE, PAGE), 0, 'and again');
});

t.test('continueRange of what is not in the file says where it stopped', options, async (t) => {
  const trap = new TrappedMemory('exit');
  t.teardown(() => trap.close());
  trap.fill(0);
  trap.fill(1);
  const continueThree = (): number => trap.uffd.continueRange(trap.guestAddress(0), 3 * PAGE, PAGE);
  t.throws(continueThree, SyscallError);
  t.throws(continueThree, {
    message: 'UFFDIO_CONTINUE at offset 8192 of 12288 bytes failed: EFAULT',
  });
  t.strictSame([trap.pte(0), trap.pte(1), trap.pte(2)], ['present', 'present', 'marker']);
});

t.test('poisonRange marks every page that has neither a page nor a marker', options, async (t) => {
  const trap = new TrappedMemory('handler');
  t.teardown(() => trap.close());
  t.strictSame(trap.ptes(), Array(16).fill('none'));
  t.equal(trap.uffd.poisonRange(trap.guestAddress(0), 4 * PAGE, PAGE), 4 * PAGE);
  t.strictSame(trap.ptes().slice(0, 5), ['marker', 'marker', 'marker', 'marker', 'none']);
  trap.fill(7);
  trap.uffd.continueRange(trap.guestAddress(7), PAGE, PAGE);
  trap.uffd.poisonRange(trap.guestAddress(9), PAGE, PAGE);
  const marked = trap.uffd.poisonRange(trap.guestAddress(5), 6 * PAGE, PAGE);
  t.equal(marked, 4 * PAGE, 'it says how many bytes it has marked');
  t.strictSame(trap.ptes().slice(5, 12), [
    ...['marker', 'marker', 'present', 'marker', 'marker', 'marker', 'none'],
  ]);
});

t.test('errors name the call', options, async (t) => {
  using uffd = Userfaultfd.open(UFFD_FEATURE_MINOR_SHMEM);
  using memory = GuestMemory.create(BACKINGS.shmem, 4 * PAGE, PAGE);
  const { guestAddress } = memory.layout;
  t.throws(() => uffd.register(guestAddress + 1, PAGE, UFFDIO_REGISTER_MODE_MINOR), {
    message: 'UFFDIO_REGISTER failed: EINVAL',
    errno: EINVAL,
  });
  t.throws(() => uffd.register(guestAddress, PAGE, 0x8000), { message: /^UFFDIO_REGISTER failed/ });
  t.throws(() => uffd.unregister(guestAddress, 100), {
    message: /^UFFDIO_UNREGISTER failed/,
  });
  t.throws(() => uffd.wake(guestAddress, 100), { message: /^UFFDIO_WAKE failed/ });
  t.throws(() => uffd.continueRange(guestAddress, PAGE, PAGE), {
    message: /^UFFDIO_CONTINUE at offset 0/,
  });
});

t.test('after unregister nothing traps', options, async (t) => {
  const trap = new TrappedMemory('handler');
  t.teardown(() => trap.close());
  const { guestAddress, bytes } = trap.memory.layout;
  trap.uffd.unregister(guestAddress, bytes);
  t.throws(() => trap.uffd.continueRange(guestAddress, PAGE, PAGE), SyscallError);
});
