import t from 'tap';
import { SyscallError } from '../../src/ffi/errors.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { openAccess } from '../../src/memory/guest-access.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { GuestPages } from '../support/guest-pages.js';
import { uffdSkip } from '../support/host.js';
import { expected, PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };
const bytesFor = (pageBytes: number): number => (pageBytes === PAGE ? 32 : 2) * pageBytes;

eachBacking(
  'what the guest has, and has written',
  { ...options, bytes: bytesFor },
  (t, backing, bytes) => {
    using trap = new TrappedMemory('exit', bytes / PAGE, backing.pageBytes, backing);
    const { resolve } = trap.resolver();
    for (let unit = 0; unit < bytes / backing.pageBytes; unit++) {
      resolve(unit);
    }
    const view = new GuestPages(trap.memory.layout);
    const access = openAccess(trap.memory.layout);
    view.write(3 * PAGE + 5, new Uint8Array([1, 2, 3]));
    t.strictSame([...access.read(3 * PAGE + 5, 3)], [1, 2, 3]);

    const all = Buffer.from(expected(0, 32).buffer);
    all.set([1, 2, 3], 3 * PAGE + 5);
    t.ok(all.equals(access.read(0, 32 * PAGE)), 'more than is copied at a time');
    t.ok(
      all.subarray(7, 20 * PAGE + 1).equals(access.read(7, 20 * PAGE - 6)),
      'from and to anywhere',
    );
    t.equal(access.read(PAGE, 0).length, 0);

    const { words, first } = access.view(31);
    t.strictSame(words.slice(first, first + 1024), expected(31));
  },
);

eachBacking(
  'what is written, the guest reads',
  { ...options, bytes: bytesFor },
  (t, backing, bytes) => {
    using trap = new TrappedMemory('exit', bytes / PAGE, backing.pageBytes, backing);
    const { resolve } = trap.resolver();
    for (let unit = 0; unit < bytes / backing.pageBytes; unit++) {
      resolve(unit);
    }
    const data = new Uint8Array(20 * PAGE).map((_, at) => at * 7);
    const access = openAccess(trap.memory.layout);
    access.write(PAGE - 3, data);
    const view = new GuestPages(trap.memory.layout);
    t.strictSame(view.bytes(PAGE - 3, 3), data.slice(0, 3));
    t.strictSame(view.bytes(17 * PAGE, PAGE), data.slice(16 * PAGE + 3, 17 * PAGE + 3));
    t.equal(view.page(25), 'source', 'no more than that');
    t.ok(Buffer.from(data).equals(access.read(PAGE - 3, data.length)));
  },
);

t.test('without an alias mapping, a missing page is an error', options, async (t) => {
  using trap = new TrappedMemory('exit', 4, PAGE, BACKINGS['anon-private']);
  const access = openAccess(trap.memory.layout);
  t.throws(() => access.view(0), SyscallError);
  t.throws(() => access.read(PAGE, 1), { message: /process_vm_readv at 0x.*EFAULT/ });
  t.throws(() => access.write(PAGE, new Uint8Array(1)), { message: /process_vm_writev/ });
});
