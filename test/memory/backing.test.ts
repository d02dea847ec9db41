import { fstatSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';
import { uffdSkip } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';

for (const backing of Object.values(BACKINGS)) {
  t.test(`${backing.kind}: opens a file of holes of the size asked for`, async (t) => {
    const before = openDescriptors();
    const file = backing.open(64 * backing.pageBytes);
    const { size, blocks } = fstatSync(file.fd);
    t.strictSame({ size, blocks }, { size: 64 * backing.pageBytes, blocks: 0 });
    t.match(readlinkSync(`/proc/self/fd/${file.fd}`), /faultline guest memory/);
    file.close();
    t.strictSame(openDescriptors(), before);
  });

  t.test(
    `${backing.kind}: a size that no file can have is refused, and closed again`,
    async (t) => {
      const before = openDescriptors();
      t.throws(() => backing.open(-1), { code: 'unsupported', message: /-1 bytes/ });
      t.strictSame(openDescriptors(), before);
    },
  );

  t.test(
    `${backing.kind}: its features let its modes be registered`,
    {
      skip: uffdSkip(backing.uffdFeatures),
    },
    async (t) => {
      using memory = GuestMemory.create(backing, 64 * backing.pageBytes, backing.pageBytes);
      using uffd = Userfaultfd.open(backing.uffdFeatures);
      const { guestAddress, bytes } = memory.layout;
      t.doesNotThrow(() => uffd.register(guestAddress, bytes, backing.uffdModes));
      t.doesNotThrow(() => uffd.unregister(guestAddress, bytes));
    },
  );
}

t.test('each is found under its own name', async (t) => {
  for (const [name, backing] of Object.entries(BACKINGS)) {
    t.equal(backing.kind, name);
    t.not(backing.description, '');
  }
});
