import { fstatSync } from 'node:fs';
import { totalmem } from 'node:os';
import t from 'tap';
import { UnsupportedError } from '../../src/ffi/errors.js';
import { write } from '../../src/ffi/libc.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { MISSING } from '../../src/memory/page-states.js';
import { mappingsOf, openDescriptors } from '../support/leaks.js';
import { expected, PAGE, pteAt, Sink, SOURCE } from '../support/trapped-memory.js';

const NAME = 'faultline guest memory';

/** The descriptor of the backing's file, found as anybody can. */
function fileDescriptor(): number {
  return Number(
    openDescriptors()
      .find((line) => line.includes(NAME))!
      .split(' ')[0],
  );
}

t.test('what is written through the alias mapping is in the guest mapping', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 16 * PAGE, PAGE);
  using sink = new Sink();
  SOURCE.fill(4, memory.alias.words[0]!, 4 * 1024, 2048);
  const { guestAddress } = memory.layout;
  t.equal(write(sink.fd, guestAddress + 4 * PAGE, 2 * PAGE), 2 * PAGE);
  t.strictSame(sink.words(), expected(4, 2));
  t.equal(pteAt(guestAddress + 4 * PAGE), 'present');
});

t.test('a new memory holds no page, and filling one allocates one', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 2 ** 21, PAGE);
  const fd = fileDescriptor();
  t.equal(fstatSync(fd).size, 2 ** 21);
  t.equal(fstatSync(fd).blocks, 0);
  memory.alias.words[0]![5 * 1024] = 1;
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

t.test('khugepaged is kept out of both mappings', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 2 ** 22, PAGE);
  const { readFileSync } = await import('node:fs');
  const smaps = readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  for (const address of [memory.layout.guestAddress, memory.layout.aliasAddress]) {
    const area = smaps.find((text) => text.startsWith(`${address.toString(16)}-`));
    t.match(area, /^VmFlags:.* nh( |$)/m);
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
