/** Accesses that KVM makes itself, in place of the CPU: all of a guest at CPL0 under shadow paging. */
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import type { HandlerEnd } from '../../src/fault/handler-loop.js';
import { WakeEvent } from '../../src/ffi/descriptor.js';
import { madvise } from '../../src/ffi/libc.js';
import { fillMissing } from '../../src/machine/fill-missing.js';
import { PML4_ADDRESS } from '../../src/machine/guest-physical-map.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { COUNTER_ROW_BYTES, counterRow, readCounters } from '../../src/measure/counters.js';
import { openAccess } from '../../src/memory/guest-access.js';
import { MAPPED, POISONED } from '../../src/memory/page-states.js';
import { MADV_DONTNEED } from '../../src/uapi/mman.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';
import { Deadline } from '../support/deadline.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import type { HandlerThreadData } from '../support/handler-thread.js';
import { kvmSkip, shadowSkip } from '../support/host.js';
import { scan, scanSkip } from '../support/page-scan.js';
import {
  FIRST_PAGE,
  GuestCode,
  SteppedGuest,
  type SteppedOptions,
  type SteppedRun,
} from '../support/stepped-guest.js';
import { PAGE } from '../support/trapped-memory.js';

const skip = kvmSkip() || shadowSkip() || scanSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
const options = { skip, timeout: 60_000 };
const KINDS = ['anon-private', 'shmem', 'shmem-private'] as const;
const [FROM, TO] = [FIRST_PAGE + 3, FIRST_PAGE + 5];

// What sleeps in KVM_RUN for ever keeps no timer of this thread from firing.
const deadline = new Deadline(60_000);
deadline.begin('an emulated access');
t.afterEach(() => deadline.step());
t.teardown(() => deadline.end());

/** A guest whose every access is emulated. */
function emulated(t: Test, code: GuestCode, more: SteppedOptions = {}): SteppedGuest {
  return new SteppedGuest(t, code, { delivery: 'exit', level: 0, ...more });
}

function word(guest: SteppedGuest, page: number, index = 0): number {
  const bytes = openAccess(guest.memory).read(page * PAGE + index * 4, 4);
  return new Uint32Array(bytes.slice().buffer)[0]!;
}

for (const backing of KINDS) {
  for (const strategy of STRATEGIES) {
    t.test(`${backing}, ${strategy}: missing pages are read and written`, options, async (t) => {
      const code = new GuestCode().read(FROM * PAGE + 4).copy(FROM * PAGE + 8, TO * PAGE);
      code
        .write(TO * PAGE + 4, 0x600d)
        .read(TO * PAGE)
        .read(TO * PAGE + 4)
        .exit();
      const guest = emulated(t, code, { backing, strategy });
      t.match(scan(guest.address(FROM)), /^SWAPPED/, 'a trap marker');
      const { end, seen } = guest.run([]);
      t.strictSame(end, { reason: 'exited', code: 0 });
      t.strictSame(seen, [guest.word(FROM, 1), guest.word(FROM, 2), 0x600d]);
      t.equal(word(guest, TO, 0), guest.word(FROM, 2));
      t.equal(word(guest, TO, 2), guest.word(TO, 2), "what was not written is the source's");
      const { faults, installed, ramAccesses } = guest.counts;
      t.match({ faults, installed }, { faults: 2, installed: 2 });
      t.ok(ramAccesses >= 2, `${ramAccesses} exits by KVM_EXIT_MMIO inside RAM`);
    });

    t.test(`${backing}, ${strategy}: a page that cannot be had`, options, async (t) => {
      const guest = emulated(t, new GuestCode().read(FROM * PAGE).exit(), { backing, strategy });
      const source = { fill: () => false, compare: () => -1 };
      const { end, seen } = guest.run([], { source });
      const failure = { unit: FROM, cause: 'source', errno: 0 };
      t.match(end, { reason: 'memory-error', failure, emulated: true });
      t.strictSame(seen, []);
      t.equal(guest.machine.memory.states.stateOf(FROM), POISONED);
    });
  }

  t.test(`${backing}: a stop is seen between the fault and the access`, options, async (t) => {
    const guest = emulated(t, new GuestCode().read(FROM * PAGE).exit(), { backing });
    const source = {
      compare: () => -1,
      fill: (...args: Parameters<typeof guest.source.fill>) => {
        guest.control.stop();
        return guest.source.fill(...args);
      },
    };
    const { end, seen } = guest.run([], { source });
    t.strictSame(end, { reason: 'stopped' });
    t.strictSame(seen, []);
    t.equal(guest.machine.memory.states.stateOf(FROM), MAPPED, 'and no claim is left');
  });
}

t.test('shmem-private: an entry that the kernel has dropped is put back', options, async (t) => {
  const code = new GuestCode()
    .read(FROM * PAGE)
    .step()
    .read(FROM * PAGE + 4);
  const guest = emulated(t, code.write(FROM * PAGE + 8, 0x600d).exit(), {
    backing: 'shmem-private',
  });
  const address = guest.address(FROM);
  const { end, seen } = guest.run([
    () => {
      t.equal(madvise(address, PAGE, MADV_DONTNEED), 0); // as reclaim does: the file keeps the page
      t.equal(scan(address), '');
      t.comment('PAGEMAP_SCAN says that there is no entry');
    },
  ]);
  t.strictSame(end, { reason: 'exited', code: 0 });
  t.strictSame(seen, [guest.word(FROM), guest.word(FROM, 1)]);
  t.match(guest.counts, { faults: 2, installed: 1, remapped: 1 });
  t.equal(word(guest, FROM, 2), 0x600d);
});

for (const backing of ['anon-private', 'shmem-private'] as const) {
  t.test(`${backing}: a write to a protected page ends the run`, options, async (t) => {
    const code = new GuestCode()
      .read(FROM * PAGE)
      .step()
      .write(FROM * PAGE, 0xbad)
      .exit();
    const guest = emulated(t, code, { backing });
    const { end } = guest.run([
      () => {
        guest.machine.uffds[0]!.writeProtect(guest.address(FROM), PAGE);
        t.notMatch(scan(guest.address(FROM)), /WRITTEN/);
        t.comment(`PAGEMAP_SCAN says ${scan(guest.address(FROM))}, and not WRITTEN`);
      },
    ]);
    t.match(end, { reason: 'failed', detail: /EFAULT and gave no address: .*write-protected/ });
    t.equal(word(guest, FROM), guest.word(FROM), 'nothing was written');
    t.equal(guest.machine.memory.states.stateOf(FROM), MAPPED);
  });
}

for (const backing of ['anon-private', 'shmem'] as const) {
  t.test(`${backing}, kernel: a poisoned page where nothing traps`, options, async (t) => {
    const code = new GuestCode()
      .read(FROM * PAGE)
      .step()
      .read(FROM * PAGE + 4)
      .exit();
    const guest = emulated(t, code, { backing, delivery: 'kernel' });
    const { memory, installer } = guest.machine;
    t.equal(await fillMissing(memory, installer, async () => true), null);
    using uffd = Userfaultfd.open(UFFD_FEATURE_POISON | memory.backing.uffdFeatures);
    const address = guest.address(FROM);
    const poison = (): void => {
      uffd.register(address, PAGE, memory.backing.uffdModes);
      madvise(address, PAGE, MADV_DONTNEED);
      uffd.poisonRange(address, PAGE, PAGE);
      t.comment(`PAGEMAP_SCAN says ${scan(address)}`);
    };
    if (backing === 'shmem') {
      const { end, seen } = guest.run([poison]);
      t.strictSame(end, { reason: 'exited', code: 0 }, 'the alias mapping has the page');
      t.strictSame(seen, [guest.word(FROM), guest.word(FROM, 1)]);
      t.equal(guest.counts.ramAccesses, 1);
    } else {
      const { end, seen } = guest.run([poison]);
      t.match(end, { reason: 'failed', detail: /its file has no longer/ });
      t.strictSame(seen, [guest.word(FROM)], 'nothing in its place');
    }
  });
}

/** A guest that goes on at a page that holds nothing but the end of its code. */
function jumping(t: Test, level: 0 | 3) {
  const guest = new SteppedGuest(t, new GuestCode().jump(FROM * PAGE), { delivery: 'exit', level });
  const rest = new Uint8Array(PAGE);
  rest.set(new GuestCode().exit().bytes);
  const source = {
    compare: () => -1,
    fill: (_: number, words: Int32Array, first: number) => {
      words.set(new Int32Array(rest.buffer), first);
      return true;
    },
  };
  return guest.run([], { source });
}

t.test('missing code is brought in, where the CPU itself runs it', options, async (t) => {
  t.strictSame(jumping(t, 3).end, { reason: 'exited', code: 0 });
});

t.test(
  'missing code that is emulated ends the run, and the error says what to do',
  options,
  async (t) => {
    const { end } = jumping(t, 0);
    t.match(end, {
      reason: 'failed',
      detail: /KVM_EXIT_INTERNAL_ERROR.*not .*resident.*--delivery handler/,
    });
    t.comment(JSON.stringify(end));
  },
);

/** Pages that are in the file with these contents, and not in the guest mapping. */
function dropped(t: Test, guest: SteppedGuest, contents: ReadonlyMap<number, Uint8Array>): void {
  const { memory, installer } = guest.machine;
  const access = openAccess(memory.layout);
  for (const [page, bytes] of contents) {
    installer.fill(page, 1);
    installer.map(page, 1);
    memory.states.words[page] = MAPPED;
    access.write(page * PAGE, bytes);
    t.equal(madvise(guest.address(page), PAGE, MADV_DONTNEED), 0); // as reclaim does
    t.equal(scan(guest.address(page)), '');
  }
  t.comment('PAGEMAP_SCAN says that the pages have no entry');
}

/** Runs a guest that sleeps where memory is missing, and a handler in another thread. */
async function handled(t: Test, guest: SteppedGuest): Promise<SteppedRun> {
  using stop = new WakeEvent();
  const row = new SharedArrayBuffer(COUNTER_ROW_BYTES);
  const data: HandlerThreadData = {
    memory: guest.memory,
    uffd: guest.machine.uffds[0]!.fd,
    stopEvent: stop.fd,
    counters: row,
  };
  const handler = new Worker(new URL('../support/handler-thread.js', import.meta.url), {
    workerData: data,
  });
  const ended = once(handler, 'message') as Promise<[HandlerEnd]>;
  const run = guest.run([]);
  stop.signal();
  t.strictSame(await ended, [{ reason: 'stopped' }]);
  t.match(readCounters(counterRow(row, 0)), { faults: 1, remapped: 1 });
  return run;
}

t.test('and a handler brings it in', options, async (t) => {
  const guest = emulated(t, new GuestCode().jump(FROM * PAGE), { delivery: 'handler' });
  dropped(t, guest, new Map([[FROM, Uint8Array.from(new GuestCode().exit().bytes)]]));
  t.strictSame((await handled(t, guest)).end, { reason: 'exited', code: 0 });
});

/** A guest with page tables of its own, of which the top one's page is missing. */
function withOwnTables(t: Test, delivery: 'exit' | 'handler'): SteppedGuest {
  const code = new GuestCode()
    .tables(FROM * PAGE)
    .read(PML4_ADDRESS)
    .exit();
  const guest = emulated(t, code, { delivery });
  const tables = openAccess(guest.memory).read(PML4_ADDRESS, PAGE);
  dropped(t, guest, new Map([[FROM, tables]]));
  return guest;
}

t.test('a missing page table is a triple fault in exit delivery', options, async (t) => {
  const { end, seen } = withOwnTables(t, 'exit').run([]);
  t.strictSame(end, { reason: 'shutdown' });
  t.strictSame(seen, [], 'and no wrong contents');
});

t.test('and brought in by a handler too', options, async (t) => {
  const guest = withOwnTables(t, 'handler');
  const { end, seen } = await handled(t, guest);
  t.strictSame(end, { reason: 'exited', code: 0 });
  t.strictSame(seen, [word(guest, PML4_ADDRESS / PAGE)]);
});

t.test(
  'auto chooses exit and says why; an image with tables of its own is told to use handlers',
  options,
  async (t) => {
    const code = Uint8Array.from(new GuestCode().tables(FROM * PAGE).exit().bytes);
    const run = (name: string, note: Uint8Array) => {
      const image = join(t.testdir({ [name]: Buffer.from(buildElf({ code, note })) }), name);
      return runGuest({
        image,
        memoryBytes: 8 * 2 ** 20,
        timeoutSeconds: 20,
        countKernelEvents: false,
      });
    };
    const { delivery, outcome, error } = await run(
      'foreign.elf',
      buildNote({ name: 'somebody\0\0' }),
    );
    t.match(delivery, { requested: 'auto', used: 'exit', why: /no thread sleeps/ });
    t.equal(outcome, 'shutdown');
    t.match(error!.message, /triple fault.*RIP 0x10.*CR3 0x203000/);
    t.match(error!.hint, /page tables.*must be resident for exit delivery/);
    t.comment(`${error!.message}: ${error!.hint}`);
  },
);
