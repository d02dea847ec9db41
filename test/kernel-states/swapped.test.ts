/** Pages that are swapped out after they were brought in: a swap entry in anonymous memory, nothing in shmem. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { INSTALLED, MEMORY_ERROR, POPULATED, PRESENT, REMAPPED } from '../../src/fault/outcome.js';
import type { Strategy } from '../../src/fault/revisit.js';
import { madvise } from '../../src/ffi/libc.js';
import { pinCurrentThread } from '../../src/ffi/thread.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { createDiscard } from '../../src/memory/discard.js';
import type { GuestMemoryLayout } from '../../src/memory/guest-memory.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { MADV_DONTNEED, MADV_PAGEOUT } from '../../src/uapi/mman.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { Attack } from '../support/attack.js';
import { findGuestMemory } from '../support/found-memory.js';
import { GuestPages } from '../support/guest-pages.js';
import { kvmSkip } from '../support/host.js';
import { leavesHostAlone } from '../support/host-knobs.js';
import { inMemory, scan, scanSkip } from '../support/page-scan.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { pageOut, swapSkip, vmstat, withSwap } from '../support/swap.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

t.setTimeout(300_000);
const SWAP_BYTES = 64 * 2 ** 20;
const skip = swapSkip() || scanSkip(UFFD_FEATURE_POISON);
const options = { skip, timeout: 60_000 };
const withVcpu = { ...options, skip: kvmSkip() || skip };
const TOUCHED = FIRST_PAGE + 3;

/** Swaps a mapped page out, or fails; says how it is known. */
function swapOut(t: Test, { guestAddress, aliasAddress }: GuestMemoryLayout, page: number): void {
  const address = guestAddress + page * PAGE;
  if (aliasAddress !== 0) {
    madvise(aliasAddress + page * PAGE, PAGE, MADV_DONTNEED); // what is mapped twice is left alone
  }
  t.ok(pageOut(address, PAGE), 'it went to swap');
  if (aliasAddress === 0) {
    t.match(scan(address), /^SWAPPED/, 'a swap entry');
    t.comment(`PAGEMAP_SCAN says ${scan(address)}`);
  } else {
    t.equal(scan(address), '', 'no entry at all');
    t.notOk(inMemory(address), 'and the page is not in the page cache either');
    t.comment('PAGEMAP_SCAN says nothing, mincore says that the page is not in memory');
  }
}

for (const strategy of STRATEGIES) {
  t.test(
    `anon-private, ${strategy}: KVM itself swaps in, and nothing exits`,
    withVcpu,
    async (t) => {
      await withSwap(SWAP_BYTES, () => {
        const code = new GuestCode().read(TOUCHED * PAGE).write(TOUCHED * PAGE + 8, 0x600d);
        code
          .step()
          .read(TOUCHED * PAGE + 4)
          .read(TOUCHED * PAGE + 8)
          .exit();
        const guest = new SteppedGuest(t, code, {
          backing: 'anon-private',
          delivery: 'exit',
          strategy,
        });
        const before = vmstat('pswpin');
        const { end, seen } = guest.run([() => swapOut(t, guest.memory, TOUCHED)]);
        t.strictSame(end, { reason: 'exited', code: 0 });
        t.strictSame(seen, [guest.word(TOUCHED, 0), guest.word(TOUCHED, 1), 0x600d]);
        t.match(guest.counts, { faults: 1, installed: 1, present: 0, populated: 0 });
        t.ok(vmstat('pswpin') > before, 'it was read from swap');
        t.match(scan(guest.address(TOUCHED)), /PRESENT/);
      });
    },
  );

  t.test(
    `shmem, ${strategy}: a vCPU exits without an address, and goes on`,
    withVcpu,
    async (t) => {
      await withSwap(SWAP_BYTES, () => {
        const code = new GuestCode().read(TOUCHED * PAGE).write(TOUCHED * PAGE + 8, 0x600d);
        code
          .step()
          .read(TOUCHED * PAGE + 4)
          .read(TOUCHED * PAGE + 8)
          .exit();
        const guest = new SteppedGuest(t, code, { backing: 'shmem', delivery: 'exit', strategy });
        const { end, seen } = guest.run([() => swapOut(t, guest.memory, TOUCHED)]);
        t.strictSame(end, { reason: 'exited', code: 0 });
        t.strictSame(seen, [guest.word(TOUCHED, 0), guest.word(TOUCHED, 1), 0x600d]);
        t.match(guest.counts, { faults: 2, installed: 1, remapped: 1, 'memory-error': 0 });
      });
    },
  );
}

/** Anonymous memory with page 2 mapped, written to by the guest, and swapped out. */
function swapped(t: Test): { trap: TrappedMemory; view: GuestPages; address: number } {
  const trap = new TrappedMemory('exit', 16, PAGE, BACKINGS['anon-private']);
  t.teardown(() => trap.close());
  t.equal(trap.resolver().resolve(2), INSTALLED);
  const view = new GuestPages(trap.memory.layout);
  view.write(2 * PAGE, Buffer.from('from the guest'));
  t.comment('the kernel resolves this state by itself: the resolver is asked directly');
  swapOut(t, trap.memory.layout, 2);
  return { trap, view, address: trap.guestAddress(2) };
}

const written = (view: GuestPages): string => Buffer.from(view.bytes(2 * PAGE, 14)).toString();

const revisits: Record<Strategy, (t: Test) => void> = {
  'no-slow-gup': (t) => {
    const { trap, view, address } = swapped(t);
    const { resolve } = trap.resolver({ strategy: 'no-slow-gup' });
    t.equal(resolve(2), PRESENT, 'the first exit may have lost a race');
    t.match(scan(address), /^SWAPPED/, 'which leaves it where it is');
    t.equal(resolve(2), POPULATED, 'MADV_POPULATE_WRITE brings it back');
    t.match(scan(address), /PRESENT/);
    t.equal(written(view), 'from the guest');
    t.equal(trap.memory.states.stateOf(2), MAPPED);
  },
  'no-uffd-wait': (t) => {
    const { trap, view, address } = swapped(t);
    const { resolve, failure } = trap.resolver({ strategy: 'no-uffd-wait' });
    t.equal(resolve(2), PRESENT);
    t.equal(resolve(2), MEMORY_ERROR, 'the kernel is said to have tried that');
    t.strictSame(failure, { unit: 2, cause: 'repeated', errno: 0 });
    t.match(scan(address), /^SWAPPED/, 'and nothing is');
    t.equal(written(view), 'from the guest', 'nor is anything lost');
  },
};

for (const strategy of STRATEGIES) {
  t.test(`anon-private, ${strategy}: a swapped page that exits`, options, async (t) => {
    await withSwap(SWAP_BYTES, () => revisits[strategy](t));
  });
}

t.test('anon-private: EEXIST for a swapped page is not an empty one', options, async (t) => {
  await withSwap(SWAP_BYTES, () => {
    for (const caller of ['vcpu', 'handler', 'prefetch'] as const) {
      const { trap, view, address } = swapped(t);
      trap.memory.states.words[2] = MISSING; // as if somebody else had brought it in
      t.equal(trap.resolver({ caller }).resolve(2), PRESENT, 'UFFDIO_COPY says EEXIST');
      t.match(scan(address), /^SWAPPED/);
      t.equal(trap.memory.states.stateOf(2), MAPPED);
      t.equal(written(view), 'from the guest', 'which is not overwritten');
    }
  });
});

t.test('shmem: a handler maps a swapped page again', options, async (t) => {
  await withSwap(SWAP_BYTES, () => {
    using trap = new TrappedMemory('handler');
    const { resolve } = trap.resolver({ caller: 'handler', sleepers: true });
    t.equal(resolve(2), INSTALLED);
    swapOut(t, trap.memory.layout, 2);
    t.equal(resolve(2), REMAPPED, 'UFFDIO_CONTINUE reads it from swap');
    t.match(scan(trap.guestAddress(2)), /PRESENT/);
    t.equal(new GuestPages(trap.memory.layout).page(2), 'source');
  });
});

for (const kind of ['anon-private', 'shmem'] as const) {
  t.test(`${kind}: a swapped page can be discarded`, options, async (t) => {
    await withSwap(SWAP_BYTES, () => {
      using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS[kind]);
      const { resolve } = trap.resolver();
      const view = new GuestPages(trap.memory.layout);
      resolve(2);
      view.write(2 * PAGE, Buffer.from('from the guest'));
      swapOut(t, trap.memory.layout, 2);
      const discard = createDiscard({
        memory: trap.memory.layout,
        trap: trap.trap,
        stopping: () => false,
        bringIn: () => false,
      });
      t.equal(discard(2 * PAGE, PAGE).units, 1);
      t.equal(view.page(2), 'EFAULT', 'it traps');
      t.equal(resolve(2), INSTALLED);
      t.equal(view.page(2), 'source', 'of what the guest had written nothing is left');
    });
  });

  for (const delivery of ['exit', 'handler'] as const) {
    for (const strategy of STRATEGIES) {
      t.test(
        `${kind}, ${delivery}, ${strategy}: a guest whose every page is swapped out over and over`,
        { ...withVcpu, timeout: 120_000 },
        async (t) => {
          await withSwap(SWAP_BYTES, async () => {
            const [unmapping, swapping] = [await Attack.prepare(), await Attack.prepare()];
            const before = vmstat('pswpin');
            const run = runGuest({
              image: 'touch',
              memoryBytes: 8 * 2 ** 20,
              backing: kind,
              delivery,
              strategy,
              vcpus: 2,
              params: { passes: '10', order: 'random', write: '50' },
              countKernelEvents: false,
              timeoutSeconds: 60,
            });
            const { guestAddress: address, bytes } = findGuestMemory();
            const alias = findAlias(bytes, address);
            unmapping.begin({
              address: alias ?? 0,
              bytes: alias ? bytes : 0,
              advice: MADV_DONTNEED,
            });
            swapping.begin({ address, bytes, advice: MADV_PAGEOUT });
            const [end] = await Promise.allSettled([run]);
            await unmapping.end();
            const { done } = await swapping.end();
            if (end.status === 'rejected') {
              throw end.reason;
            }
            const { outcome, error, pages, faults } = end.value;
            t.match({ outcome, error }, { outcome: 'completed', error: null });
            t.match(pages, { touched: 1536, verified: 1536, mismatched: 0 });
            const swappedIn = vmstat('pswpin') - before;
            t.ok(swappedIn > 100, `${swappedIn} pages came back from swap`);
            if (kind === 'shmem') {
              t.ok(faults.outcomes.remapped > 0, 'and were mapped again by us');
            }
            t.comment(`${done} calls of MADV_PAGEOUT; outcomes ${JSON.stringify(faults.outcomes)}`);
          });
        },
      );
    }
  }
}

/** The other mapping of the same memfd, or null where there is none. */
function findAlias(bytes: number, guestAddress: number): number | null {
  const starts = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('memfd:'))
    .map((line) => line.split(/[- ]/, 2).map((text) => Number.parseInt(text, 16)));
  const alias = starts.find(([start, end]) => end! - start! === bytes && start !== guestAddress);
  return alias?.[0] ?? null;
}

const devices = (): string[] => readdirSync('/sys/block').filter((name) => name.startsWith('zram'));

t.test('a body that fails leaves neither swap nor device', options, async (t) => {
  const before = devices();
  await leavesHostAlone(async (t) => {
    const failing = withSwap(SWAP_BYTES, () => {
      t.not(readFileSync('/proc/swaps', 'utf8').indexOf('zram'), -1);
      throw new Error('from the body');
    });
    await t.rejects(failing, { message: 'from the body' });
  })(t);
  t.strictSame(devices(), before);
});

t.test('nor does a process that is killed with pages in swap', options, async (t) => {
  const before = devices();
  const swap = new URL('../support/swap.js', import.meta.url).href;
  const code = `
    import { readFileSync } from 'node:fs';
    import { withSwap } from '${swap}';
    await withSwap(${SWAP_BYTES}, () => {
      process.stdout.write(readFileSync('/proc/swaps', 'utf8'));
      process.kill(process.pid, 'SIGKILL');
    });`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', code]);
  t.equal(child.signal, 'SIGKILL');
  const [, device] = /\/dev\/(zram\d+)/.exec(String(child.stdout))!;
  while (existsSync(`/sys/block/${device}`)) {
    await setTimeout(10); // the kernel tells nobody; the test has a deadline
  }
  t.strictSame(devices(), before);
  t.notOk(readFileSync('/proc/swaps', 'utf8').includes(device!));
});

const others = options.skip || (availableParallelism() < 2 && 'needs two CPUs');
t.test('pages that a thread brought in before it moved go to swap', { skip: others }, async (t) => {
  await withSwap(SWAP_BYTES, () => {
    using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS['anon-private']);
    const { resolve } = trap.resolver();
    for (let page = 0; page < 16; page += 1) {
      pinCurrentThread(page % 2);
      t.equal(resolve(page), INSTALLED);
      pinCurrentThread((page + 1) % 2);
      swapOut(t, trap.memory.layout, page);
    }
  });
});
