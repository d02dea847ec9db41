import t from 'tap';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { createRamAccess } from '../../src/vcpu/ram-access.js';
import { FakeRunPage } from '../support/fake-run-page.js';
import { aliasOf, PAGE } from '../support/trapped-memory.js';

t.test('reads come from memory, and leave the rest of the field alone', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 4 * PAGE, PAGE);
  aliasOf(memory).write(5000, Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]));
  const run = new FakeRunPage();
  const access = createRamAccess(memory.layout);
  for (const length of [1, 2, 4, 8]) {
    access(run.mmio(5000, length, false));
    t.strictSame(
      run.mmioData(),
      Array.from({ length: 8 }, (_, index) => (index < length ? index + 1 : 0xcc)),
    );
  }
});

t.test('writes go to memory, so many bytes and no more', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 4 * PAGE, PAGE);
  aliasOf(memory).fill(0, PAGE, 0xee);
  const access = createRamAccess(memory.layout);
  access(new FakeRunPage().mmio(101, 4, true, [1, 2, 3, 4, 5, 6, 7, 8]));
  t.strictSame([...aliasOf(memory).read(100, 7)], [0xee, 1, 2, 3, 4, 0xee, 0xee]);
});

t.test('an access that reaches over the end of memory stops there', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 4 * PAGE, PAGE);
  const access = createRamAccess(memory.layout);
  const run = new FakeRunPage();
  t.doesNotThrow(() => access(run.mmio(4 * PAGE - 2, 8, true, [1, 2, 3, 4, 5, 6, 7, 8])));
  t.strictSame([...aliasOf(memory).read(4 * PAGE - 2, 2)], [1, 2]);
  t.doesNotThrow(() => access(run.mmio(4 * PAGE - 2, 8, false)));
  t.strictSame(run.mmioData().slice(0, 3), [1, 2, 0xcc]);
});
