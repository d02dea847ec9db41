/**
 * Guests at CPL0 where the CPU walks page tables itself (NPT, EPT): nothing is emulated, every access
 * to a missing page ends KVM_RUN, and neither code nor page tables of the guest need be resident.
 */
import t, { type Test } from 'tap';
import { PML4_ADDRESS } from '../../src/machine/guest-physical-map.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { openAccess } from '../../src/memory/guest-access.js';
import { MAPPED, MISSING, POISONED } from '../../src/memory/page-states.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { hardwareSkip, kvmSkip, uffdSkip } from '../support/host.js';
import {
  FIRST_PAGE,
  GuestCode,
  SteppedGuest,
  type SteppedOptions,
} from '../support/stepped-guest.js';
import { PAGE } from '../support/trapped-memory.js';

const skip = kvmSkip() || hardwareSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
const options = { skip, timeout: 60_000 };
const [FROM, TO] = [FIRST_PAGE + 3, FIRST_PAGE + 5];

function supervisor(t: Test, code: GuestCode, more: SteppedOptions = {}): SteppedGuest {
  return new SteppedGuest(t, code, { delivery: 'exit', level: 0, ...more });
}

/** A source with these contents for one page, and its own for all others. */
function sourceWith(guest: SteppedGuest, page: number, bytes: Uint8Array) {
  const contents = new Uint8Array(PAGE);
  contents.set(bytes);
  const words = new Int32Array(contents.buffer);
  return {
    compare: () => -1,
    fill: (number: number, into: Int32Array, first: number, length: number): boolean => {
      if (number !== page) {
        return guest.source.fill(number, into, first, length);
      }
      into.set(words, first);
      return true;
    },
  };
}

for (const backing of ['anon-private', 'shmem', 'shmem-private'] as const) {
  for (const strategy of STRATEGIES) {
    t.test(`${backing}, ${strategy}: each missing page is one exit`, options, async (t) => {
      const code = new GuestCode().read(FROM * PAGE + 4).copy(FROM * PAGE + 8, TO * PAGE);
      code
        .write(TO * PAGE + 4, 0x600d)
        .read(TO * PAGE)
        .read(TO * PAGE + 4)
        .exit();
      const guest = supervisor(t, code, { backing, strategy });
      const { end, seen } = guest.run([]);
      t.strictSame(end, { reason: 'exited', code: 0 });
      t.strictSame(seen, [guest.word(FROM, 1), guest.word(FROM, 2), 0x600d]);
      const { faults, installed, ramAccesses } = guest.counts;
      t.strictSame({ faults, installed }, { faults: 2, installed: 2 });
      t.equal(ramAccesses, 0, 'KVM emulated none of it');
    });
  }
}

t.test(
  'a page that cannot be had is a memory error, and a machine check could follow',
  options,
  async (t) => {
    const guest = supervisor(t, new GuestCode().read(FROM * PAGE).exit());
    const source = { fill: () => false, compare: () => -1 };
    const { end, seen } = guest.run([], { source });
    const failure = { unit: FROM, cause: 'source', errno: 0 };
    t.match(end, { reason: 'memory-error', failure, gpa: FROM * PAGE, emulated: false });
    t.strictSame(seen, []);
    t.equal(guest.machine.memory.states.stateOf(FROM), POISONED);
  },
);

t.test('missing code is brought in', options, async (t) => {
  const guest = supervisor(t, new GuestCode().jump(FROM * PAGE));
  const source = sourceWith(guest, FROM, Uint8Array.from(new GuestCode().exit().bytes));
  t.strictSame(guest.run([], { source }).end, { reason: 'exited', code: 0 });
  t.match(guest.counts, { faults: 1, installed: 1 });
});

t.test('a missing page table is brought in', options, async (t) => {
  const code = new GuestCode()
    .tables(FROM * PAGE)
    .read(TO * PAGE)
    .exit();
  const guest = supervisor(t, code);
  const { states } = guest.machine.memory;
  const tables = openAccess(guest.memory).read(PML4_ADDRESS, PAGE);
  t.strictSame([states.stateOf(FROM), states.stateOf(TO)], [MISSING, MISSING]);
  const { end, seen } = guest.run([], { source: sourceWith(guest, FROM, tables) });
  t.strictSame(end, { reason: 'exited', code: 0 });
  t.strictSame(seen, [guest.word(TO)]);
  t.strictSame([states.stateOf(FROM), states.stateOf(TO)], [MAPPED, MAPPED]);
  t.match(guest.counts, { faults: 2, installed: 2, ramAccesses: 0 });
});
