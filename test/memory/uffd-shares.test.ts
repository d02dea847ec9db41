/** Guest memory split over several userfaultfds: each range by the one whose share it lies in. */
import t from 'tap';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { trapMissing } from '../../src/memory/trap.js';
import { SharedUffdCalls } from '../../src/memory/uffd-shares.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { uffdSkip } from '../support/host.js';
import { pteAt } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };
const MIB = 2 ** 20;

t.test('shares are equal, of 2 MiB at least, and cover all memory', options, async (t) => {
  for (const [mib, unitBytes, wanted, expected] of [
    [16, 4096, 1, 1],
    [16, 4096, 4, 4],
    [16, 4096, 3, 3], // 6, 6 and 4 MiB
    [16, 4096, 64, 8],
    [4, 4096, 64, 2],
    [16, 2 * MIB, 5, 4],
  ] as const) {
    using memory = GuestMemory.create(BACKINGS.shmem, mib * MIB, unitBytes);
    const { uffds, trap } = trapMissing(memory, true, wanted);
    t.equal(uffds.length, expected, `${wanted} over ${mib} MiB`);
    t.strictSame(
      trap.uffds.fds,
      uffds.map(({ fd }) => fd),
    );
    t.equal(trap.uffds.bytes % Math.max(2 * MIB, unitBytes), 0);
    t.ok(trap.uffds.bytes * expected >= mib * MIB);
    const { guestAddress } = memory.layout;
    for (let at = 0; at < mib * MIB; at += MIB) {
      t.equal(pteAt(guestAddress + at), 'marker');
    }
    uffds.forEach((uffd) => {
      uffd.close();
    });
  }
});

t.test('a range that spans shares takes a call for each', options, async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 8 * MIB, 4096);
  const { uffds, trap } = trapMissing(memory, true, 4);
  const { guestAddress } = memory.layout;
  const calls = new SharedUffdCalls(memory.layout, trap.uffds);
  t.equal(calls.poisonRange(guestAddress, 8 * MIB, 4096), 0, 'all were marked');
  calls.unregister(guestAddress + MIB, 6 * MIB);
  calls.register(guestAddress + MIB, 6 * MIB, trap.modes);
  calls.wake(guestAddress + 1, 0);
  t.throws(() => uffds[0].continueRange(guestAddress, 8 * MIB, 4096), { code: 'syscall' });
  uffds.forEach((uffd) => {
    uffd.close();
  });
});
