import t from 'tap';
import { BACKING_KINDS, BACKINGS, fileBacking, parseFileName } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { HUGE_PAGE_BYTES, PAGE_BYTES } from '../../src/memory/sizes.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';
import { eachBacking, TESTED_BACKINGS } from '../support/backings.js';
import { uffdSkip } from '../support/host.js';

t.test('each is found under its own name', async (t) => {
  t.strictSame(Object.keys(BACKINGS), [...BACKING_KINDS]);
  for (const [name, backing] of Object.entries(BACKINGS)) {
    t.equal(backing.name, name);
    t.not(backing.description, '');
  }
});

for (const { label, backing } of TESTED_BACKINGS) {
  t.test(`${label}: its traits agree with each other`, async (t) => {
    t.ok(Number.isInteger(Math.log2(backing.pageBytes)) && backing.pageBytes >= PAGE_BYTES);
    t.ok(backing.largestUnitBytes >= backing.pageBytes);
    t.ok(backing.largestUnitBytes >= HUGE_PAGE_BYTES);
    t.equal(backing.fill === 'copy', !backing.alias, 'what is copied in needs no alias mapping');
    t.notOk(backing.inspect === 'alias' && !backing.alias, 'no alias mapping to look through');
    t.notOk(
      backing.inspect === 'alias' && backing.sharing === 'private',
      'copies that the guest makes cannot be seen through an alias mapping',
    );
    t.ok(backing.discard.length > 0);
    t.equal(
      backing.discard.includes('drop-private'),
      backing.sharing === 'private',
      'private pages are dropped, and there are none in shared memory',
    );
    t.notOk(
      backing.discard.includes('punch-hole') && backing.file.kind === 'anonymous',
      'nothing to punch',
    );
    t.equal(backing.hugetlb, backing.pageBytes > PAGE_BYTES);
    t.notOk(backing.hugetlb && backing.collapsible);
  });

  t.test(`${label}: it is plain data, which a worker can be sent`, async (t) => {
    t.strictSame(structuredClone(backing), backing);
  });
}

eachBacking('its features let its modes be registered', {}, async (t, backing, bytes) => {
  const reason = uffdSkip(backing.uffdFeatures);
  if (reason !== false) {
    t.plan(0, reason);
    return;
  }
  using memory = GuestMemory.create(backing, bytes, backing.pageBytes);
  using uffd = Userfaultfd.open(backing.uffdFeatures);
  const { guestAddress } = memory.layout;
  t.doesNotThrow(() => uffd.register(guestAddress, bytes, backing.uffdModes));
  t.doesNotThrow(() => uffd.unregister(guestAddress, bytes));
});

t.test('a file on a disk is nothing that userfaultfd takes', async (t) => {
  for (const sharing of ['shared', 'private'] as const) {
    const backing = fileBacking('/x', sharing, 'regular', 4096);
    t.match(backing, { uffdModes: 0, uffdFeatures: 0, collapsible: false, allocate: 'populate' });
  }
});

t.test('file:PATH is taken apart, and no other name', async (t) => {
  t.strictSame(parseFileName('file:/a/b'), { path: '/a/b', sharing: 'shared' });
  t.strictSame(parseFileName('file-private:c'), { path: 'c', sharing: 'private' });
  t.strictSame(parseFileName('file:file:x\ny'), { path: 'file:x\ny', sharing: 'shared' });
  for (const name of ['shmem', 'file', 'FILE:x', 'xfile:y', '']) {
    t.equal(parseFileName(name), null);
  }
  for (const name of ['file:', 'file-private:']) {
    t.throws(() => parseFileName(name), {
      code: 'usage',
      message: `--backing ${name} names no file`,
      hint: `Use ${name}PATH.`,
    });
  }
});

t.test('a backing made of a path has the name that it was asked for by', async (t) => {
  for (const fileSystem of ['tmpfs', 'hugetlbfs', 'regular'] as const) {
    t.equal(fileBacking('/x', 'shared', fileSystem, 4096).name, 'file:/x');
    t.equal(fileBacking('/x', 'private', fileSystem, 4096).name, 'file-private:/x');
  }
  t.match(fileBacking('/x', 'shared', 'hugetlbfs', 2 ** 30), {
    pageBytes: 2 ** 30,
    largestUnitBytes: 2 ** 30,
    hugetlb: true,
  });
});
