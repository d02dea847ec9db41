/** Errors that a stock kernel hardly ever gives: here a seccomp filter gives them in its place. */
import { constants } from 'node:os';
import t from 'tap';
import { createHandlerLoop } from '../../src/fault/handler-loop.js';
import { INSTALLED, MEMORY_ERROR, POPULATED, PRESENT, RETRIED } from '../../src/fault/outcome.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { WakeEvent } from '../../src/ffi/descriptor.js';
import { chooseDelivery } from '../../src/machine/delivery.js';
import { SYSCALLS } from '../../src/measure/counters.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { FailingCalls, failingSkip } from '../support/failing-calls.js';
import { GuestPages } from '../support/guest-pages.js';
import { kvmSkip, shadowSkip, uffdSkip } from '../support/host.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { expected, PAGE, Sink, TrappedMemory } from '../support/trapped-memory.js';

const { EAGAIN, EINTR, EIO, ENOMEM, EPERM } = constants.errno;
const skip = failingSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
const options = { skip, timeout: 60_000 };

// Before any other thread: this one's are to be answered for too, but the one that answers.
const calls = skip ? null : await FailingCalls.install();
t.teardown(() => calls?.end());

/** One call answered, and all that is said of it. */
function injected(t: { equal: (a: number, b: number, why: string) => void }, what: string) {
  const before = calls!.answered;
  return (times = 1) => t.equal(calls!.answered - before, times, `${what}, by seccomp`);
}

for (const [name, error] of Object.entries({ EINTR, EAGAIN })) {
  t.test(
    `MADV_POPULATE_WRITE of a revisited page says ${name}: tried again`,
    options,
    async (t) => {
      using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS['anon-private']);
      const { resolve } = trap.resolver();
      t.equal(resolve(2), INSTALLED);
      t.equal(resolve(2), PRESENT);
      const done = injected(t, `MADV_POPULATE_WRITE said ${name}`);
      calls!.fail('populate', error);
      t.equal(resolve(2), RETRIED);
      t.equal(trap.memory.states.stateOf(2), MAPPED);
      t.equal(resolve(2), POPULATED);
      t.equal(new GuestPages(trap.memory.layout).page(2), 'source');
      done();
    },
  );

  t.test(`MADV_POPULATE_WRITE of a page to fill says ${name}: called again`, options, async (t) => {
    using trap = new TrappedMemory('exit', 16, PAGE, { ...BACKINGS.shmem, allocate: 'populate' });
    const done = injected(t, `MADV_POPULATE_WRITE said ${name}, three times`);
    calls!.fail('populate', error, { times: 3 });
    t.equal(trap.resolver().resolve(2), INSTALLED);
    t.equal(trap.counters[SYSCALLS], 3 + 1 + 1, 'the last one, and UFFDIO_CONTINUE');
    t.equal(new GuestPages(trap.memory.layout).page(2), 'source');
    done(3);
  });
}

for (const [kind, call] of [
  ['anon-private', 'copy'],
  ['shmem', 'continue'],
] as const) {
  t.test(`${kind}: a call that fails for good is a memory error`, options, async (t) => {
    using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS[kind]);
    const { resolve, failure } = trap.resolver();
    const done = injected(t, `UFFDIO_${call.toUpperCase()} said ENOMEM`);
    calls!.fail(call, ENOMEM);
    t.equal(resolve(2), MEMORY_ERROR);
    t.strictSame(failure, { unit: 2, cause: 'map', errno: ENOMEM });
    t.equal(new GuestPages(trap.memory.layout).page(2), 'EFAULT');
    done();
  });

  t.test(`${kind}: the address space changes before a run is begun`, options, async (t) => {
    using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS[kind]);
    const { resolve } = trap.resolver({ around: 7 });
    const done = injected(t, `UFFDIO_${call.toUpperCase()} said EAGAIN`);
    calls!.fail(call, EAGAIN);
    t.equal(resolve(4), INSTALLED, 'what was asked for, alone');
    t.strictSame(new GuestPages(trap.memory.layout).units().slice(3, 6), [
      'EFAULT',
      'source',
      'EFAULT',
    ]);
    t.equal(trap.memory.states.count(MISSING), 15, 'its neighbours are given back');
    done();
  });
}

/** A handler in this thread, of which a sleeper in another has touched page 1. */
async function handled(
  t: { teardown: (end: () => Promise<void>) => void },
  body: (run: () => unknown, answer: Promise<{ result: number }>, sink: Sink) => Promise<void>,
): Promise<void> {
  const trap = new TrappedMemory('handler');
  const stop = new WakeEvent();
  const sink = new Sink();
  const thread = new SyscallThread();
  t.teardown(async () => {
    trap.uffd.close(); // wakes the sleeper
    await thread.end();
    trap.close();
    stop.close();
    sink.close();
  });
  const { resolve, failure } = trap.resolver({ caller: 'handler', sleepers: true });
  const loop = createHandlerLoop({
    memory: trap.memory.layout,
    uffd: trap.uffd.fd,
    stopEvent: stop.fd,
    resolver: {
      failure,
      resolve: (unit) => {
        stop.signal(); // one fault is enough
        return resolve(unit);
      },
    },
    poison: () => false,
    control: new WorkerControl(),
    counters: trap.counters,
    timing: trap.timing,
  });
  const answer = thread.call('write', sink.fd, trap.guestAddress(1), PAGE);
  await body(loop, answer, sink);
}

for (const [call, name, error] of [
  ['poll-two', 'EINTR', EINTR],
  ['read-messages', 'EAGAIN', EAGAIN],
] as const) {
  t.test(`a handler whose ${call} says ${name} goes on`, options, async (t) => {
    await handled(t, async (run, answer, sink) => {
      const done = injected(t, `${call} said ${name}`);
      calls!.fail(call, error);
      t.strictSame(run(), { reason: 'stopped' });
      t.match(await answer, { result: PAGE });
      t.strictSame(sink.words(), expected(1));
      done();
    });
  });

  t.test(`a handler whose ${call} fails otherwise ends with a defect`, options, async (t) => {
    await handled(t, async (run) => {
      const done = injected(t, `${call} said EIO`);
      calls!.fail(call, EIO);
      t.throws(run, { code: 'defect', message: `errno ${EIO}` });
      done();
    });
  });
}

t.test(
  'process_vm_readv is forbidden: in-RAM MMIO is an error that says so',
  {
    ...options,
    skip: kvmSkip() || shadowSkip() || skip,
  },
  async (t) => {
    const code = new GuestCode().read(FIRST_PAGE * PAGE).exit();
    const guest = new SteppedGuest(t, code, {
      backing: 'anon-private',
      delivery: 'exit',
      level: 0,
    });
    const done = injected(t, 'process_vm_readv said EPERM');
    calls!.fail('process_vm_readv', EPERM);
    t.throws(() => guest.run([]), { message: /process_vm_readv .*EPERM/ });
    t.equal(guest.machine.memory.states.stateOf(FIRST_PAGE), MAPPED, 'and its claim is ended');
    done();
  },
);

t.test(
  'auto: a kernel without UFFDIO_POISON gets handlers, and is told why',
  options,
  async (t) => {
    const done = injected(t, 'UFFDIO_API hid UFFD_FEATURE_POISON');
    calls!.hideFeatures(UFFD_FEATURE_POISON);
    const { delivery, why } = chooseDelivery(BACKINGS.shmem);
    t.equal(delivery.name, 'handler');
    t.match(why, /cannot report a missing page by an exit .*6\.6/);
    done();
    t.equal(chooseDelivery(BACKINGS.shmem).delivery.name, 'exit', 'this kernel has it');
  },
);
