/** Pages that were brought in, and that somebody has put a poison marker in the place of since. */
import t, { type Test } from 'tap';
import type { MemoryErrorCause } from '../../src/fault/memory-error.js';
import { INSTALLED, MEMORY_ERROR, PRESENT } from '../../src/fault/outcome.js';
import type { Strategy } from '../../src/fault/revisit.js';
import { madvise } from '../../src/ffi/libc.js';
import { fillMissing } from '../../src/machine/fill-missing.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { MAPPED, POISONED } from '../../src/memory/page-states.js';
import { MADV_DONTNEED } from '../../src/uapi/mman.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';
import { GuestPages } from '../support/guest-pages.js';
import { kvmSkip } from '../support/host.js';
import { scan, scanSkip } from '../support/page-scan.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { expected, PAGE, SOURCE, TrappedMemory } from '../support/trapped-memory.js';

const EHWPOISON = 133; // absent from node:os
const skip = scanSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
const options = { skip, timeout: 60_000 };
const withVcpu = { ...options, skip: kvmSkip() || skip };
const TOUCHED = FIRST_PAGE + 3;
const KINDS = ['anon-private', 'shmem'] as const;

/** What a strategy makes of a page that is poisoned after it was mapped. */
const VERDICTS: Record<Strategy, { cause: MemoryErrorCause; errno: number }> = {
  'no-slow-gup': { cause: 'populate', errno: EHWPOISON },
  'no-uffd-wait': { cause: 'repeated', errno: 0 },
};

function poison(t: Test, uffd: Userfaultfd, address: number): void {
  t.equal(madvise(address, PAGE, MADV_DONTNEED), 0); // a marker takes the place of nothing only
  t.equal(uffd.poisonRange(address, PAGE, PAGE), PAGE);
  t.equal(scan(address), 'SWAPPED WRITTEN', 'a marker');
  t.comment('UFFDIO_POISON marked the page, PAGEMAP_SCAN says SWAPPED and not PRESENT');
}

for (const backing of KINDS) {
  for (const strategy of STRATEGIES) {
    t.test(`${backing}, exit, ${strategy}: a vCPU meets a poisoned page`, withVcpu, async (t) => {
      const code = new GuestCode()
        .read(TOUCHED * PAGE)
        .step()
        .read(TOUCHED * PAGE)
        .exit();
      const guest = new SteppedGuest(t, code, { backing, delivery: 'exit', strategy });
      const address = guest.address(TOUCHED);
      const { end, seen } = guest.run([() => poison(t, guest.machine.uffds[0]!, address)]);
      const failure = { unit: TOUCHED, ...VERDICTS[strategy] };
      t.match(end, { reason: 'memory-error', failure, emulated: false });
      t.strictSame(seen, [guest.word(TOUCHED)], 'the second read gives nothing');
      t.match(guest.counts, { faults: 3, installed: 1, present: 1, 'memory-error': 1 });
      t.equal(scan(address), 'SWAPPED WRITTEN', 'still marked');
    });

    t.test(`${backing}, kernel, ${strategy}: the same where nothing traps`, withVcpu, async (t) => {
      const code = new GuestCode()
        .read(TOUCHED * PAGE)
        .step()
        .read(TOUCHED * PAGE)
        .exit();
      const guest = new SteppedGuest(t, code, { backing, delivery: 'kernel', strategy });
      const { memory, installer } = guest.machine;
      t.equal(await fillMissing(memory, installer, async () => true), null);
      using uffd = Userfaultfd.open(UFFD_FEATURE_POISON | memory.backing.uffdFeatures);
      const address = guest.address(TOUCHED);
      const { end, seen } = guest.run([
        () => {
          uffd.register(address, PAGE, memory.backing.uffdModes);
          poison(t, uffd, address);
        },
      ]);
      const failure = { unit: TOUCHED, ...VERDICTS[strategy] };
      t.match(
        end,
        { reason: 'memory-error', failure, emulated: false },
        'as if the host memory had failed',
      );
      t.strictSame(seen, [guest.word(TOUCHED)]);
      t.match(guest.counts, { faults: 2, present: 1, 'memory-error': 1 });
    });
  }

  t.test(`${backing}: a marker is no page, and is replaced by one`, options, async (t) => {
    using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS[backing]);
    t.equal(scan(trap.guestAddress(2)), 'SWAPPED WRITTEN', 'every missing page has one');
    t.equal(trap.resolver().resolve(2), INSTALLED, 'not EEXIST');
    t.match(scan(trap.guestAddress(2)), /PRESENT/);
    t.equal(new GuestPages(trap.memory.layout).page(2), 'source');
  });

  t.test(`${backing}: a handler's answer to a poisoned page`, options, async (t) => {
    t.comment('a vCPU that touches a marker does not sleep: the resolver is asked directly');
    using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS[backing]);
    const { resolve } = trap.resolver({ caller: 'handler', sleepers: true });
    t.equal(resolve(2), INSTALLED);
    t.equal(resolve(2), PRESENT);
    poison(t, trap.uffd, trap.guestAddress(2));
    // UFFDIO_CONTINUE replaces the marker by the file's page; a private one went with its entry.
    const continues = trap.memory.backing.fill === 'continue';
    t.equal(resolve(2), continues ? 3 : PRESENT);
    t.equal(new GuestPages(trap.memory.layout).page(2), continues ? 'source' : 'EFAULT');
    t.equal(trap.memory.states.stateOf(2), MAPPED);
  });
}

t.test('a page whose source failed is poisoned for every vCPU', withVcpu, async (t) => {
  for (const strategy of STRATEGIES) {
    const code = new GuestCode().read(TOUCHED * PAGE).exit();
    const guest = new SteppedGuest(t, code, { delivery: 'exit', strategy });
    const source = { fill: () => false, compare: () => -1 };
    const first = guest.run([], { source });
    const failure = { unit: TOUCHED, cause: 'source', errno: 0 };
    t.match(first.end, { reason: 'memory-error', failure, emulated: false });
    t.equal(guest.machine.memory.states.stateOf(TOUCHED), POISONED);
    const second = guest.run([]); // with a source that has it: too late
    t.strictSame(second.end, first.end, 'and it is told the same');
    t.strictSame([...first.seen, ...second.seen], [], 'nothing was read');
    t.equal(scan(guest.address(TOUCHED)), 'SWAPPED WRITTEN');
  }
});

t.test('shmem: what was in a poisoned page is not lost', options, async (t) => {
  for (const strategy of STRATEGIES) {
    using trap = new TrappedMemory('exit');
    const { resolve, failure } = trap.resolver({ strategy });
    resolve(2);
    poison(t, trap.uffd, trap.guestAddress(2));
    t.equal(resolve(2), PRESENT);
    t.equal(resolve(2), MEMORY_ERROR);
    t.match(failure, VERDICTS[strategy]);
    t.strictSame(trap.alias.words[0]!.slice(2 * 1024, 3 * 1024), expected(2), 'the file has it');
    t.equal(SOURCE.compare(2, trap.alias.words[0]!, 2 * 1024), -1);
  }
});
