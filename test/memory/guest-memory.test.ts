import { execFileSync } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { totalmem } from 'node:os';
import t from 'tap';
import { UnsupportedError } from '../../src/ffi/errors.js';
import { write } from '../../src/ffi/libc.js';
import { ProcessMemory } from '../../src/ffi/process-memory.js';
import { BACKINGS, type Backing } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { availablePages, growCommand, readHugetlbPool } from '../../src/memory/hugetlb-pool.js';
import { MISSING } from '../../src/memory/page-states.js';
import { readSmaps } from '../../src/memory/smaps.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { uffdSkip } from '../support/host.js';
import { isMapped, mappingsOf, openDescriptors } from '../support/leaks.js';
import {
  aliasOf,
  expected,
  PAGE,
  pteAt,
  Sink,
  SOURCE,
  TrappedMemory,
} from '../support/trapped-memory.js';

const NAME = 'faultline guest memory';
const skip = uffdSkip(UFFD_FEATURE_POISON);

t.test('what is written through the alias mapping is in the guest mapping', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 16 * PAGE, PAGE);
  using sink = new Sink();
  SOURCE.fill(4, aliasOf(memory).words[0]!, 4 * 1024, 2048);
  const { guestAddress } = memory.layout;
  t.equal(write(sink.fd, guestAddress + 4 * PAGE, 2 * PAGE), 2 * PAGE);
  t.strictSame(sink.words(), expected(4, 2));
  t.equal(pteAt(guestAddress + 4 * PAGE), 'present');
});

t.test('a new memory holds no page, and filling one allocates one', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 2 ** 21, PAGE);
  const { fd } = memory.layout;
  t.equal(fstatSync(fd).size, 2 ** 21);
  t.equal(fstatSync(fd).blocks, 0);
  aliasOf(memory).words[0]![5 * 1024] = 1;
  t.equal(fstatSync(fd).blocks * 512, PAGE, 'the neighbours stay holes');
  t.equal(memory.states.count(MISSING), 512);
});

t.test('the layout says where and how large, in numbers and shared memory alone', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 2 ** 22, 2 ** 16);
  const { layout } = memory;
  t.strictSame(
    { bytes: layout.bytes, unitBytes: layout.unitBytes, states: layout.states.byteLength },
    { bytes: 2 ** 22, unitBytes: 2 ** 16, states: 64 * 4 },
  );
  t.not(layout.guestAddress, layout.aliasAddress);
  t.strictSame(structuredClone(layout), layout, 'a worker can be sent it');
});

/** The VmFlags of the mapping that starts there. */
function vmFlags(address: number): readonly string[] {
  return readSmaps().find(({ start }) => start === address)?.flags ?? [];
}

t.test('khugepaged is kept out of the alias mapping', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 2 ** 22, PAGE);
  t.ok(vmFlags(memory.layout.aliasAddress).includes('nh'));
});

t.test('khugepaged is kept out of both mappings once memory is trapped', { skip }, async (t) => {
  for (const delivery of ['exit', 'handler'] as const) {
    using trap = new TrappedMemory(delivery, 1024);
    const { guestAddress, aliasAddress } = trap.memory.layout;
    t.ok(vmFlags(guestAddress).includes('nh'));
    t.ok(vmFlags(aliasAddress).includes('nh'));
  }
});

t.test('closing gives back the file and both mappings, and may be done twice', async (t) => {
  const before = openDescriptors();
  const memory = GuestMemory.create(BACKINGS.shmem, 2 ** 21, PAGE);
  t.equal(mappingsOf(NAME).length, 2);
  t.equal(openDescriptors().length, before.length + 1);
  memory.close();
  memory.close();
  t.strictSame(mappingsOf(NAME), []);
  t.strictSame(openDescriptors(), before);
});

t.test('more than the host has is refused, and nothing stays open', async (t) => {
  const before = openDescriptors();
  const bytes = Math.ceil(totalmem() / PAGE + 1) * PAGE;
  t.throws(() => GuestMemory.create(BACKINGS.shmem, bytes, PAGE), UnsupportedError);
  t.throws(() => GuestMemory.create(BACKINGS.shmem, bytes, PAGE), {
    code: 'unsupported',
    message: /MiB of guest memory is more than this host has/,
    hint: /--memory/,
  });
  t.strictSame(openDescriptors(), before);
  t.strictSame(mappingsOf(NAME), []);
});

eachBacking('both mappings are aligned to huge pages', { gigantic: true }, async (t, backing) => {
  const { pageBytes } = backing;
  using memory = GuestMemory.create(backing, pageBytes, pageBytes);
  const { guestAddress, aliasAddress } = memory.layout;
  const alignment = Math.max(pageBytes, 2 ** 21);
  t.equal(guestAddress % alignment, 0);
  t.equal(aliasAddress % alignment, 0);
  t.equal(aliasAddress !== 0, backing.alias);
});

eachBacking('opening and closing it leaves nothing', {}, async (t, backing, bytes) => {
  const before = openDescriptors();
  const memory = GuestMemory.create(backing, bytes, backing.pageBytes);
  const { guestAddress, aliasAddress, fd } = memory.layout;
  t.equal(fd >= 0, backing.file.kind !== 'anonymous');
  t.ok(isMapped(guestAddress) && (aliasAddress === 0 || isMapped(aliasAddress)));
  memory.close();
  memory.close();
  t.notOk(isMapped(guestAddress) || isMapped(aliasAddress));
  t.strictSame(openDescriptors(), before);
});

eachBacking('what workers are sent is its traits, without the file', {}, (t, backing, bytes) => {
  using memory = GuestMemory.create(backing, bytes, backing.pageBytes);
  const { file: _file, description: _description, ...traits } = backing;
  t.strictSame(memory.layout.backing, traits);
  t.strictSame(structuredClone(memory.layout), memory.layout);
});

const HUGETLB = { of: (backing: Backing) => backing.hugetlb, gigantic: true };

eachBacking('its pages are reserved at once, and given back', HUGETLB, (t, backing, bytes) => {
  const { pageBytes } = backing;
  const before = readHugetlbPool(pageBytes)!;
  const memory = GuestMemory.create(backing, bytes, pageBytes);
  const reserved = readHugetlbPool(pageBytes)!;
  t.strictSame(reserved, { ...before, reserved: before.reserved + bytes / pageBytes });
  t.strictSame(memory.hugetlb, {
    ...{ pageBytes, wanted: bytes / pageBytes, before, created: reserved },
  });
  memory.close();
  t.strictSame(readHugetlbPool(pageBytes), before);
});

eachBacking('without a reservation nothing is promised', HUGETLB, (t, backing, bytes) => {
  const before = readHugetlbPool(backing.pageBytes)!;
  using memory = GuestMemory.create(backing, bytes, backing.pageBytes, { reserve: false });
  t.strictSame(memory.hugetlb!.created, before);
});

eachBacking(
  'too few pages: the error has the number missing and the command',
  HUGETLB,
  (t, backing, bytes) => {
    const { pageBytes } = backing;
    const pool = readHugetlbPool(pageBytes)!;
    const wanted = availablePages(pool) + 3;
    const before = openDescriptors();
    t.throws(() => GuestMemory.create(backing, wanted * pageBytes, pageBytes), {
      code: 'unsupported',
      message:
        `${backing.name}: ${wanted} hugetlb pages of ${pageBytes / 2 ** 20} MiB are wanted and 3 are missing ` +
        `(${pool.total} in the pool, ${pool.free} free, ${pool.reserved} reserved, ${pool.surplus} surplus)`,
      hint: `Run: ${growCommand(pageBytes, pool, 3)}`,
    });
    t.strictSame(openDescriptors(), before);
    t.strictSame(mappingsOf(NAME), []);
    t.strictSame(readHugetlbPool(pageBytes), pool, 'and nothing stays reserved');
    t.ok(bytes > 0);
  },
);

eachBacking(
  'the command provides what was missing',
  { of: ({ name }) => name === 'hugetlb-2M' },
  (t, backing) => {
    const { pageBytes } = backing;
    const pages = availablePages(readHugetlbPool(pageBytes)!) + 2;
    const create = (): GuestMemory => GuestMemory.create(backing, pages * pageBytes, pageBytes);
    try {
      create().close();
      t.fail('the pool was expected to be too small');
    } catch (error) {
      const [, command] = /^Run: (.*)$/.exec((error as UnsupportedError).hint) ?? [];
      execFileSync('sh', ['-c', command!]);
    }
    t.doesNotThrow(() => create().close());
  },
);

t.test('other memory reserves nothing, and reports no pool', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 2 ** 21, PAGE);
  t.equal(memory.hugetlb, null);
});

eachBacking(
  'a page written to is what the guest mapping has, and no other page comes to be',
  { of: ({ alias, hugeFile }) => alias && !hugeFile },
  (t, backing, bytes) => {
    using memory = GuestMemory.create(backing, bytes, backing.pageBytes);
    const { pageBytes } = backing;
    const alias = aliasOf(memory);
    alias.words[0]![pageBytes / 4 + 5] = 0x1234;
    const view = new ProcessMemory(64);
    view.read(memory.layout.guestAddress + pageBytes, 64);
    t.equal(view.buffer.s32[5], 0x1234);
    if (memory.layout.fd >= 0) {
      t.equal(fstatSync(memory.layout.fd).blocks * 512, pageBytes);
    }
  },
);
