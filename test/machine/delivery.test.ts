import t from 'tap';
import {
  chooseDelivery,
  DELIVERIES,
  DELIVERY_NAMES,
  prepareMemory,
} from '../../src/machine/delivery.js';
import { fillMissing } from '../../src/machine/fill-missing.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { uffdSkip } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';
import { aliasOf, expected, installerFor, PAGE, pteAt } from '../support/trapped-memory.js';

const skip = uffdSkip(UFFD_FEATURE_POISON);
const PAGES = 16;

const small = (): GuestMemory => GuestMemory.create(BACKINGS.shmem, PAGES * PAGE, PAGE);

function ptes(memory: GuestMemory): string[] {
  return Array.from({ length: PAGES }, (_, page) =>
    pteAt(memory.layout.guestAddress + page * PAGE),
  );
}

t.test('kernel: every page is filled, mapped by nobody, and nothing is registered', async (t) => {
  using memory = small();
  t.equal(prepareMemory(memory, DELIVERIES.kernel), null);
  await fillMissing(memory, installerFor(memory), async () => true);
  t.strictSame(ptes(memory), Array(PAGES).fill('none'));
  t.equal(memory.states.count(MAPPED), PAGES);
  t.strictSame(Int32Array.from(aliasOf(memory).words[0]!), expected(0, PAGES));
});

t.test('handler: every page is missing and none is marked', { skip }, async (t) => {
  using memory = small();
  const {
    uffds: [uffd],
    trap,
  } = prepareMemory(memory, DELIVERIES.handler)!;
  t.teardown(() => uffd.close());
  t.match(trap, { uffds: { fds: [uffd.fd] }, marked: false });
  t.strictSame(ptes(memory), Array(PAGES).fill('none'));
  t.equal(memory.states.count(MISSING), PAGES);
});

t.test('exit: every page has a trap marker', { skip }, async (t) => {
  using memory = small();
  const {
    uffds: [uffd],
    trap,
  } = prepareMemory(memory, DELIVERIES.exit)!;
  t.teardown(() => uffd.close());
  t.match(trap, { uffds: { fds: [uffd.fd] }, marked: true });
  t.strictSame(ptes(memory), Array(PAGES).fill('marker'));
  t.equal(memory.states.count(MISSING), PAGES);
});

t.test('what cannot be prepared leaves no userfaultfd open', { skip }, async (t) => {
  using memory = small();
  using first = prepareMemory(memory, DELIVERIES.exit)!.uffds[0]!;
  const before = openDescriptors();
  for (const name of ['handler', 'exit'] as const) {
    t.throws(() => prepareMemory(memory, DELIVERIES[name]), {
      message: 'UFFDIO_REGISTER failed: EBUSY',
    });
  }
  t.strictSame(openDescriptors(), before);
  t.ok(first.fd >= 0);
});

t.test('auto takes exits where this kernel can trap, and says why', { skip }, async (t) => {
  const before = openDescriptors();
  const { delivery, why } = chooseDelivery(BACKINGS.shmem);
  t.equal(delivery.name, 'exit');
  t.match(why, /UFFDIO_POISON/);
  t.strictSame(openDescriptors(), before);
});

t.test('each delivery is found under its name, and reports in one way', async (t) => {
  t.strictSame(Object.keys(DELIVERIES), [...DELIVERY_NAMES]);
  for (const [name, delivery] of Object.entries(DELIVERIES)) {
    t.equal(delivery.name, name);
    t.notOk(delivery.trapped && delivery.handled, 'by its own thread or by another');
    t.equal(delivery.reportedBy === 'none', !delivery.trapped && !delivery.handled);
  }
});

t.test('filling stops when told to, and leaves alone what is there', async (t) => {
  using memory = small();
  memory.states.words[3] = MAPPED;
  await fillMissing(memory, installerFor(memory), async () => false);
  t.equal(memory.states.count(MISSING), PAGES - 1);
  await fillMissing(memory, installerFor(memory), async () => true);
  t.strictSame(new Int32Array(aliasOf(memory).read(3 * PAGE, PAGE).buffer), new Int32Array(1024));
  t.strictSame(new Int32Array(aliasOf(memory).read(4 * PAGE, PAGE).buffer), expected(4));
});
