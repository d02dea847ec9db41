/**
 * What the loop does after true exits: pages that fast GUP does not find although they were brought
 * in. The same states as in test/kernel-states, where trap markers stand in for such a KVM.
 */
import { constants } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { madvise, poll } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import type { MemslotExit } from '../../src/kvm/memory-exits.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { MAPPED, MISSING, PageStates } from '../../src/memory/page-states.js';
import { DEFAULT_SEED } from '../../src/source/open-source.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { POLLIN, pollfd } from '../../src/uapi/fcntl.js';
import { MADV_DONTNEED, MADV_POPULATE_WRITE } from '../../src/uapi/mman.js';
import { UffdCalls } from '../../src/uffd/userfaultfd.js';
import { PORT_SERIAL } from '../../src/vcpu/guest-ports.js';
import { Attack } from '../support/attack.js';
import { compactionSkip, makeHoles, underCompaction } from '../support/compaction.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import { findGuestMemory } from '../support/found-memory.js';
import {
  adviseFailureHere,
  corruptedKilobytes,
  memoryFailureSkip,
} from '../support/memory-failure.js';
import { memslotExitSkip } from '../support/memslot-exits.js';
import { scan } from '../support/page-scan.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { pageOut, swapSkip, withSwap } from '../support/swap.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { TrappedMemory } from '../support/trapped-memory.js';
import { until } from '../support/until.js';

const PAGE = 4096;
const EHWPOISON = 133; // absent from node:os
const { EIO } = constants.errno;
const TOUCHED = FIRST_PAGE + 3;
/** Where the code of a guest lies that has been built here. */
const CODE_PAGE = 0x100;
const SWAP_BYTES = 64 * 2 ** 20;
/** Which pages compaction moves, and when, is the kernel's to decide. */
const PATIENCE_MILLISECONDS = 30_000;
const EXITS = ['missing', 'userfault'] satisfies MemslotExit[];

t.setTimeout(300_000);

function isReadable(fd: number): boolean {
  const page = new ScratchPage();
  page.s32[0] = fd;
  page.u16[pollfd.offset.events >> 1] = POLLIN;
  return poll(page.address, 1, 0) === 1;
}

const imm32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
/** That of a run, unless it is told otherwise. */
const SOURCE = new PatternSource(DEFAULT_SEED);

/** Writes to a page and ends; run again, it reads. */
const twice = (): GuestCode =>
  new GuestCode()
    .write(TOUCHED * PAGE + 8, 0x600d)
    .exit()
    .read(TOUCHED * PAGE)
    .read(TOUCHED * PAGE + 8)
    .exit();

/** As if the page states of another process said what is there. */
function forget({ memory }: SteppedGuest): void {
  new PageStates(memory.states).words[TOUCHED] = MISSING;
}

for (const exitBy of EXITS) {
  const skip = memslotExitSkip(exitBy);

  for (const strategy of STRATEGIES) {
    for (const how of ['swapped out', 'dropped'] as const) {
      // Both leave shmem without an entry: a minor fault, on which MADV_POPULATE_WRITE would sleep.
      const needsSwap = how === 'swapped out' && swapSkip();
      t.test(
        `${exitBy}, ${strategy}: a page of shmem that was ${how}`,
        { skip: skip || needsSwap },
        async (t) => {
          const guest = new SteppedGuest(t, twice(), { delivery: 'exit', exitBy, strategy });
          const address = guest.address(TOUCHED);
          t.strictSame(guest.run([]).end, { reason: 'exited', code: 0 });
          const after = (): void => {
            t.equal(scan(address), '', 'no entry');
            const { end, seen } = guest.run([]);
            t.strictSame(end, { reason: 'exited', code: 0 });
            t.strictSame(seen, [guest.word(TOUCHED), 0x600d], 'what the guest wrote is there');
            t.match(guest.counts, { faults: 3, installed: 1, present: 1, remapped: 1 });
            t.equal(guest.counts.memoryFaultExits, 3);
          };
          if (how === 'dropped') {
            t.equal(madvise(address, PAGE, MADV_DONTNEED), 0);
            after();
            return;
          }
          await withSwap(SWAP_BYTES, () => {
            const { aliasAddress } = guest.memory;
            t.equal(madvise(aliasAddress + TOUCHED * PAGE, PAGE, MADV_DONTNEED), 0);
            t.ok(pageOut(address, PAGE), 'it went to swap');
            after();
          });
        },
      );
    }
    for (const forgotten of [false, true]) {
      const name = `${exitBy}, ${strategy}: a page that was swapped out`;
      t.test(
        forgotten ? `${name}, and that is not known to have been brought in` : name,
        { skip: skip || swapSkip() },
        async (t) => {
          await withSwap(SWAP_BYTES, () => {
            const guest = new SteppedGuest(t, twice(), {
              backing: 'anon-private',
              delivery: 'exit',
              exitBy,
              strategy,
            });
            const address = guest.address(TOUCHED);
            t.strictSame(guest.run([]).end, { reason: 'exited', code: 0 });
            t.ok(pageOut(address, PAGE), 'it went to swap');
            t.match(scan(address), /^SWAPPED/);
            if (forgotten) {
              forget(guest);
            }
            const { end, seen } = guest.run([]);
            if (exitBy === 'missing' && strategy === 'no-uffd-wait') {
              // A kernel of that design would have swapped it in itself: here nobody does.
              t.match(end, { reason: 'memory-error', failure: { cause: 'repeated' } });
              return;
            }
            t.strictSame(end, { reason: 'exited', code: 0 });
            t.strictSame(seen, [guest.word(TOUCHED), 0x600d], 'what the guest wrote is there');
            if (exitBy === 'userfault') {
              // Slow GUP has swapped it in: no exit but the first.
              t.match(guest.counts, { faults: 1, installed: 1, populated: 0, memoryFaultExits: 1 });
              return;
            }
            // An exit for which UFFDIO_COPY says EEXIST, where it is asked; one that may have lost a
            // race; one for which MADV_POPULATE_WRITE brings the page back.
            const present = forgotten ? 2 : 1;
            const faults = 2 + present;
            t.match(guest.counts, { faults, installed: 1, present, populated: 1 });
            t.equal(guest.counts.memoryFaultExits, faults);
          });
        },
      );
    }
  }

  for (const [backing, forgotten] of [
    ['anon-private', false],
    ['anon-private', true],
    ['shmem', false],
  ] as const) {
    const how = forgotten ? 'not known to have been brought in: EEXIST, then ' : '';
    const continues = BACKINGS[backing].fill === 'continue';
    const refusal = continues ? 'UFFDIO_CONTINUE says EIO' : 'MADV_POPULATE_WRITE says EHWPOISON';
    t.test(
      `${exitBy}, ${backing}: memory that has failed (MADV_HWPOISON): ${how}${refusal}`,
      { skip: skip || memoryFailureSkip() },
      async (t) => {
        const guest = new SteppedGuest(t, twice(), { backing, delivery: 'exit', exitBy });
        t.strictSame(guest.run([]).end, { reason: 'exited', code: 0 });
        const before = corruptedKilobytes();
        t.equal(await adviseFailureHere(guest.address(TOUCHED)), 0);
        t.equal(corruptedKilobytes() - before, 4, 'the kernel has lost a page');
        if (forgotten) {
          forget(guest);
        }
        const { end, seen } = guest.run([]);
        t.match(end, {
          reason: 'memory-error',
          failure: continues
            ? { unit: TOUCHED, cause: 'map', errno: EIO }
            : { unit: TOUCHED, cause: 'populate', errno: EHWPOISON },
          emulated: false,
        });
        t.strictSame(seen, [], 'nothing was read');
        t.comment(JSON.stringify(guest.counts));
      },
    );
  }

  t.test(
    `${exitBy}: a write to a page that somebody has write-protected does not sleep`,
    {
      skip,
    },
    async (t) => {
      const code = new GuestCode()
        .read(TOUCHED * PAGE)
        .step()
        .write(TOUCHED * PAGE, 0xbad)
        .exit();
      const guest = new SteppedGuest(t, code, { delivery: 'exit', exitBy });
      const { end } = guest.run([
        () => guest.machine.uffds[0]!.writeProtect(guest.address(TOUCHED), PAGE),
      ]);
      t.match(end, { reason: 'memory-error', failure: { unit: TOUCHED, cause: 'protected' } });
    },
  );

  t.test(
    `${exitBy}: a resident page, which no userfaultfd has, whose entry is gone`,
    { skip },
    async (t) => {
      const guest = new SteppedGuest(
        t,
        new GuestCode()
          .step()
          .read(TOUCHED * PAGE)
          .exit(),
        {
          delivery: 'exit',
          exitBy,
        },
      );
      t.ok(guest.memory.resident.some(({ first, end }) => first <= CODE_PAGE && CODE_PAGE < end));
      const { end, seen } = guest.run([
        () => t.equal(madvise(guest.address(CODE_PAGE), PAGE, MADV_DONTNEED), 0),
      ]);
      t.strictSame(end, { reason: 'exited', code: 0 });
      t.strictSame(seen, [guest.word(TOUCHED)]);
      const met = exitBy === 'missing' ? 1 : 0; // slow GUP maps it
      t.match(guest.counts, { installed: 1, present: met, populated: met, remapped: 0 });
    },
  );

  for (const backing of ['anon-private', 'shmem'] as const) {
    t.test(
      `${exitBy}, ${backing}: pages that the kernel moves while vCPUs use them`,
      { skip: skip || compactionSkip(), timeout: 120_000 },
      async (t) => {
        let populated = 0;
        let runs = 0;
        const patience = performance.now() + PATIENCE_MILLISECONDS;
        await underCompaction(async () => {
          while (populated === 0 && performance.now() < patience) {
            using _holes = makeHoles();
            const result = await runGuest({
              image: 'touch',
              memoryBytes: 16 * 2 ** 20,
              vcpus: 2,
              backing,
              delivery: 'exit',
              exitBy,
              params: { passes: '50', order: 'random', write: '50' },
              timeoutSeconds: 60,
            });
            t.match(result, { outcome: 'completed', pages: { touched: 3584, verified: 3584 } });
            populated += result.faults.outcomes.populated;
            runs++;
            if (exitBy === 'userfault') {
              break; // slow GUP waits for the end of a migration itself
            }
          }
        });
        if (exitBy === 'userfault') {
          t.equal(populated, 0, 'the kernel deals with them');
        } else {
          t.ok(
            populated > 0,
            `${populated} exits for pages under migration, in ${runs} runs`,
            populated === 0 ? { skip: 'compaction was never met at it' } : {},
          );
        }
      },
    );
  }

  for (const strategy of STRATEGIES) {
    if (exitBy === 'missing') {
      continue; // the pages of its code exit too, and are dropped again before one instruction is done
    }
    t.test(
      `${exitBy}, ${strategy}: two vCPUs share every page, and the entries are dropped over and over`,
      { skip, timeout: 120_000 },
      async (t) => {
        const dropping = await Attack.prepare();
        const run = runGuest({
          image: 'touch',
          memoryBytes: 8 * 2 ** 20,
          vcpus: 2,
          delivery: 'exit',
          exitBy,
          strategy,
          params: { share: 'overlap', passes: '20', order: 'random', write: '50', pages: '64' },
          timeoutSeconds: 60,
        });
        const { guestAddress: address, bytes } = findGuestMemory();
        dropping.begin({ address, bytes, advice: MADV_DONTNEED });
        const [end] = await Promise.allSettled([run]);
        const { done } = await dropping.end();
        if (end.status === 'rejected') {
          throw end.reason;
        }
        const { outcome, error, pages, faults } = end.value;
        t.match({ outcome, error }, { outcome: 'completed', error: null });
        t.match(pages, { touched: 64, verified: 64, mismatched: 0 });
        t.ok(faults.outcomes.remapped > 0, 'entries were lost, and continued again');
        t.comment(`${done} drops; outcomes ${JSON.stringify(faults.outcomes)}`);
      },
    );
  }

  t.test(`${exitBy}: four vCPUs race for every page`, { skip, timeout: 120_000 }, async (t) => {
    const result = await runGuest({
      image: 'touch',
      memoryBytes: 16 * 2 ** 20,
      vcpus: 4,
      delivery: 'exit',
      exitBy,
      params: { share: 'overlap', write: '50', pages: '2048' },
    });
    t.match(result, {
      outcome: 'completed',
      delivery: { reportedBy: 'memory-fault', exitBy },
      pages: { touched: 2048, verified: 2048, mismatched: 0 },
    });
    t.equal(result.perHandler.length, 1, 'one thread for what KVM touches itself');
    t.equal(result.perHandler[0]!.faults, 0, 'which was not needed');
  });

  t.test(
    `${exitBy}: what KVM touches itself sleeps, and the handler brings it in`,
    {
      skip,
      timeout: 120_000,
    },
    async (t) => {
      const { bytes } = new GuestCode();
      bytes.push(
        ...[0xbe, ...imm32(TOUCHED * PAGE)], // mov $address, %esi
        ...[0xb9, ...imm32(16)], // mov $16, %ecx
        ...[0x66, 0xba, ...imm32(PORT_SERIAL).slice(0, 2)], // mov $port, %dx
        ...[0xf3, 0x6e], // rep outsb
        ...new GuestCode().exit().bytes,
      );
      const elf = buildElf({ code: Uint8Array.from(bytes), note: buildNote({ level: 0 }) });
      let said = '';
      const result = await runGuest({
        image: join(t.testdir({ 'guest.elf': Buffer.from(elf) }), 'guest.elf'),
        memoryBytes: 8 * 2 ** 20,
        delivery: 'exit',
        exitBy,
        load: 'resident',
        onConsole: (text) => {
          said += text;
        },
      });
      t.equal(result.outcome, 'completed');
      t.match(result, { perVcpu: [{ faults: 0 }], perHandler: [{ faults: 1 }] });
      const wanted = Buffer.alloc(PAGE);
      SOURCE.fill(TOUCHED, new Int32Array(wanted.buffer, wanted.byteOffset, PAGE / 4), 0, PAGE / 4);
      t.equal(said, wanted.toString('latin1', 0, 16), 'it wrote what was in the page');
    },
  );

  t.test(
    `${exitBy}: memory errors reach the guest as machine checks`,
    {
      skip,
      timeout: 120_000,
    },
    async (t) => {
      const result = await runGuest({
        image: 'mce',
        memoryBytes: 8 * 2 ** 20,
        delivery: 'exit',
        exitBy,
        onMemoryError: 'inject',
        poison: [0x300000],
      });
      t.match(result, { outcome: 'completed', memoryErrors: { count: 1 } });
      t.ok(result.memoryErrors.records.every(({ injected }) => injected));
    },
  );
}

t.test(
  'shmem: UFFDIO_CONTINUE of a page that has failed says EIO, not EEXIST',
  {
    skip: memslotExitSkip('missing') || memoryFailureSkip(),
  },
  async (t) => {
    using trap = new TrappedMemory('handler', 16, PAGE, BACKINGS.shmem);
    t.equal(trap.resolver({ caller: 'prefetch', sleepers: true }).resolve(2), 0);
    t.equal(trap.memory.states.stateOf(2), MAPPED);
    const address = trap.guestAddress(2);
    t.equal(await adviseFailureHere(address), 0);
    t.equal(madvise(address, PAGE, MADV_DONTNEED), 0);
    const uffd = new UffdCalls(trap.uffd.fd);
    const failed = t.throws(() => uffd.continueRange(address, PAGE, PAGE));
    t.match(failed, { errno: EIO });
  },
);

t.test(
  'MADV_POPULATE_WRITE before UFFDIO_CONTINUE sleeps, as the mail warns',
  {
    skip: memslotExitSkip('missing'),
  },
  async (t) => {
    const trap = new TrappedMemory('handler', 16, PAGE, BACKINGS.shmem);
    const thread = new SyscallThread();
    t.teardown(async () => {
      await thread.end();
      trap.close();
    });
    let ended = false;
    const call = thread
      .call('madvise', trap.guestAddress(2), PAGE, MADV_POPULATE_WRITE)
      .then((answer) => {
        ended = true;
        return answer;
      });
    const resolver = trap.resolver({ caller: 'prefetch', sleepers: true });
    await until('it has told the userfaultfd', () => isReadable(trap.uffd.fd));
    t.notOk(ended, 'and sleeps');
    t.equal(resolver.resolve(2), 0);
    t.match(await call, { result: 0 });
  },
);
