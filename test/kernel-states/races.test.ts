/** Several threads at one unit, in exactly one order: whoever waits does so until the other is there. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { INSTALLED, PRESENT, RETRIED } from '../../src/fault/outcome.js';
import type { ResolverOptions } from '../../src/fault/resolver.js';
import { WakeEvent } from '../../src/ffi/descriptor.js';
import { read } from '../../src/ffi/libc.js';
import { ScratchPage, scratch } from '../../src/ffi/scratch.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import {
  COUNTER_ROW_BYTES,
  counterRow,
  readCounters,
  SYSCALLS,
} from '../../src/measure/counters.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { AWAITED, CLAIMED, MAPPED, MISSING, PageStates } from '../../src/memory/page-states.js';
import type { PageSource } from '../../src/source/page-source.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS, uffd_msg } from '../../src/uapi/userfaultfd.js';
import { Deadline } from '../support/deadline.js';
import { GuestPages } from '../support/guest-pages.js';
import type { HandlerThreadData } from '../support/handler-thread.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { Rival } from '../support/rival.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { expected, isReadable, PAGE, Sink, TrappedMemory } from '../support/trapped-memory.js';

const skip = uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
const options = { skip, timeout: 60_000 };
const withVcpu = { ...options, skip: kvmSkip() || skip };
const KINDS = ['anon-private', 'shmem'] as const;
const UNIT = FIRST_PAGE + 3;

// What sleeps in the kernel for ever keeps no timer of this thread from firing.
const deadline = new Deadline(60_000);
deadline.begin('a race');
t.afterEach(() => deadline.step());
t.teardown(() => deadline.end());

async function rivalOf(
  t: Test,
  guest: SteppedGuest,
  order: Pick<ResolverOptions, 'caller' | 'sleepers'> & { holds: boolean },
): Promise<Rival> {
  const { uffds } = guest.machine.trap!;
  const rival = await Rival.prepare({ memory: guest.memory, uffds, unit: UNIT, seed: 1, ...order });
  t.teardown(() => rival.end());
  return rival;
}

const code = (): GuestCode =>
  new GuestCode()
    .read(UNIT * PAGE)
    .read(UNIT * PAGE + 4)
    .exit();

for (const backing of KINDS) {
  for (const strategy of STRATEGIES) {
    const name = `${backing}, ${strategy}`;

    for (const caller of ['vcpu', 'prefetch'] as const) {
      t.test(
        `${name}: a vCPU waits for a ${caller} that has claimed the unit`,
        withVcpu,
        async (t) => {
          const guest = new SteppedGuest(t, code(), { backing, strategy, delivery: 'exit' });
          const rival = await rivalOf(t, guest, { caller, sleepers: false, holds: true });
          rival.claims();
          t.equal(guest.machine.memory.states.stateOf(UNIT), CLAIMED);
          t.comment('the rival is in its fill, and goes on when the vCPU has gone to sleep');
          const { end, seen } = guest.run([]);
          t.equal(rival.outcome(), INSTALLED);
          t.strictSame(end, { reason: 'exited', code: 0 });
          t.strictSame(seen, [guest.word(UNIT), guest.word(UNIT, 1)]);
          const { faults, installed, present, retried } = guest.counts;
          t.equal(installed, 0, 'the vCPU brought nothing in');
          t.ok(
            faults > 0 && faults === present + retried,
            `${present} present, ${retried} retried`,
          );
        },
      );
    }

    t.test(`${name}: a prefetch does not wait for a vCPU`, withVcpu, async (t) => {
      const guest = new SteppedGuest(t, code(), { backing, strategy, delivery: 'exit' });
      const { states } = guest.machine.memory;
      const rival = await rivalOf(t, guest, { caller: 'prefetch', sleepers: false, holds: false });
      const source = during(guest.source, () => {
        t.equal(states.stateOf(UNIT), CLAIMED, 'the vCPU is at it');
        t.equal(rival.resolves(), PRESENT, 'and the prefetch goes on to the next');
        t.equal(states.stateOf(UNIT), CLAIMED, 'without a word');
      });
      const { end, seen } = guest.run([], { source });
      t.strictSame(end, { reason: 'exited', code: 0 });
      t.strictSame(seen, [guest.word(UNIT), guest.word(UNIT, 1)]);
      t.match(guest.counts, { faults: 1, installed: 1 });
    });

    t.test(`${name}: EEXIST, for somebody maps the page during the fill`, withVcpu, async (t) => {
      const guest = new SteppedGuest(t, code(), { backing, strategy, delivery: 'exit' });
      const {
        uffds: [uffd],
        memory,
      } = guest.machine;
      const source = during(guest.source, (words, first) => {
        if (backing === 'shmem') {
          uffd!.continueRange(guest.address(UNIT), PAGE, PAGE);
        } else {
          const staging = new ScratchPage(PAGE);
          staging.s32.set(words.subarray(first, first + 1024));
          uffd!.copy(guest.address(UNIT), staging.address, PAGE);
        }
        t.comment('UFFDIO_* of another has returned 0 for the page; ours must say EEXIST');
      });
      const { end, seen } = guest.run([], { source });
      t.strictSame(end, { reason: 'exited', code: 0 });
      t.strictSame(seen, [guest.word(UNIT), guest.word(UNIT, 1)]);
      t.match(guest.counts, { faults: 1, present: 1, installed: 0 }, 'benign, and counted');
      t.equal(memory.states.stateOf(UNIT), MAPPED);
    });
  }

  t.test(`${backing}: a vCPU sleeps on a unit that a prefetch brings in`, withVcpu, async (t) => {
    const guest = new SteppedGuest(t, code(), { backing, delivery: 'handler' });
    const stop = new WakeEvent();
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
    const handled = once(handler, 'message');
    const rival = await rivalOf(t, guest, { caller: 'prefetch', sleepers: true, holds: true });
    rival.claims();
    t.comment(
      'the prefetch is in its fill, and goes on when a handler has the message of the vCPU',
    );
    const { end, seen } = guest.run([]);
    t.equal(rival.outcome(), INSTALLED);
    t.strictSame(end, { reason: 'exited', code: 0 });
    t.strictSame(seen, [guest.word(UNIT), guest.word(UNIT, 1)]);
    t.match(guest.counts, { faults: 0 }, 'nothing exits');
    stop.signal();
    t.strictSame(await handled, [{ reason: 'stopped' }]);
    const { faults, installed, present } = readCounters(counterRow(row, 0));
    t.match({ faults, installed, present }, { faults: 1, installed: 0, present: 1 });
    stop.close();
  });
}

/** The same source, but that something happens at the end of the first fill. */
function during(
  source: PageSource,
  happens: (words: Int32Array, first: number) => void,
): PageSource {
  let once = false;
  return {
    compare: source.compare.bind(source),
    fill: (page, words, first, count) => {
      const filled = source.fill(page, words, first, count);
      if (!once) {
        once = true;
        happens(words, first);
      }
      return filled;
    },
  };
}

t.test(
  'a sleeper whose message came during the claim is woken by the claimant',
  options,
  async (t) => {
    for (const kind of KINDS) {
      const trap = new TrappedMemory('handler', 16, PAGE, BACKINGS[kind]);
      const sink = new Sink();
      const thread = new SyscallThread();
      const { states } = trap.memory;
      let write: ReturnType<SyscallThread['call']> | undefined;
      // The sleeper falls asleep while the prefetch fills, and a handler reads its message.
      const handler = trap.resolver({ caller: 'handler', sleepers: true });
      const prefetch = trap.resolver({
        caller: 'prefetch',
        sleepers: true,
        source: during({ fill: (...args) => fillExpected(...args), compare: () => -1 }, () => {
          write = thread.call('write', sink.fd, trap.guestAddress(2), PAGE);
          t.ok(isReadable(trap.uffd.fd), 'a thread sleeps on the page');
          t.equal(read(trap.uffd.fd, scratch.address, uffd_msg.size), uffd_msg.size);
          t.equal(handler.resolve(2), PRESENT, 'left to the claimant');
          t.equal(states.stateOf(2), AWAITED);
        }),
      });
      const before = trap.counters[SYSCALLS]!;
      t.equal(prefetch.resolve(2), INSTALLED);
      t.equal(trap.counters[SYSCALLS]! - before, 2, 'to map it, and UFFDIO_WAKE for good measure');
      t.match(await write, { result: PAGE });
      t.strictSame(sink.words(), expected(2));
      trap.uffd.close();
      await thread.end();
      trap.close();
      sink.close();
    }
  },
);

function fillExpected(page: number, words: Int32Array, first: number, count: number): boolean {
  words.set(expected(page, count / 1024), first);
  return true;
}

/** Lets another thread's change of a state come just before a call that depends on it. */
function before<Name extends 'claimMapped' | 'markAwaited'>(
  t: Test,
  name: Name,
  change: (states: PageStates, unit: number) => void,
): void {
  const original = PageStates.prototype[name];
  const restore = (): void => {
    PageStates.prototype[name] = original;
  };
  t.teardown(restore);
  PageStates.prototype[name] = function (this: PageStates, unit: number): boolean {
    restore();
    change(this, unit);
    return original.call(this, unit);
  };
}

for (const caller of ['vcpu', 'handler'] as const) {
  t.test(
    `${caller}: a discard claims a mapped unit just before it is looked at again`,
    options,
    async (t) => {
      using trap = new TrappedMemory('exit');
      const { resolve } = trap.resolver({ caller, sleepers: caller === 'handler' });
      t.equal(resolve(2), INSTALLED);
      t.equal(resolve(2), PRESENT);
      before(t, 'claimMapped', (states, unit) =>
        t.ok(states.claimMapped(unit), 'the discard has it'),
      );
      t.equal(resolve(2), RETRIED);
      t.equal(trap.memory.states.stateOf(2), CLAIMED, 'and keeps it');
      trap.memory.states.publish(2, MISSING);
      t.equal(new GuestPages(trap.memory.layout).page(2), 'source');
    },
  );
}

t.test('a claim ends just before a handler leaves word that somebody waits', options, async (t) => {
  using trap = new TrappedMemory('handler');
  const { states } = trap.memory;
  const { resolve } = trap.resolver({ caller: 'handler', sleepers: true });
  t.equal(states.claim(2), MISSING);
  before(t, 'markAwaited', (_, unit) => t.notOk(states.publish(unit, MISSING), 'nobody waited'));
  t.equal(resolve(2), RETRIED, 'the message is not answered by anybody else');
  t.equal(resolve(2), INSTALLED);
  t.equal(new GuestPages(trap.memory.layout).page(2), 'source');
});
