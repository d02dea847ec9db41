/** The resolver when several threads want the same page, and when the address space is changing. */
import t from 'tap';
import { INSTALLED, PRESENT, RETRIED } from '../../src/fault/outcome.js';
import { read } from '../../src/ffi/libc.js';
import { scratch } from '../../src/ffi/scratch.js';
import { AWAITED, MAPPED, MISSING } from '../../src/memory/page-states.js';
import { MADV_REMOVE } from '../../src/uapi/mman.js';
import {
  UFFD_EVENT_REMOVE,
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_POISON,
  uffd_msg,
} from '../../src/uapi/userfaultfd.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';
import { uffdSkip } from '../support/host.js';
import { oneShare } from '../support/one-share.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { expected, isReadable, PAGE, Sink, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

t.test('a vCPU waits for the claimant, a while at most, and goes in again', options, async (t) => {
  const trap = new TrappedMemory('exit');
  t.teardown(() => trap.close());
  const { states } = trap.memory;
  t.equal(states.claim(1), MISSING, 'another thread has claimed it');
  t.equal(trap.resolver().resolve(1), RETRIED);
  t.equal(states.stateOf(1), AWAITED, 'the claimant will see that somebody waits');
});

t.test('a handler leaves a claimed page to the claimant', options, async (t) => {
  const trap = new TrappedMemory('handler');
  t.teardown(() => trap.close());
  const { states } = trap.memory;
  states.claim(1);
  t.equal(trap.resolver({ caller: 'handler', sleepers: true }).resolve(1), PRESENT);
  t.equal(states.stateOf(1), AWAITED, 'without waiting, but leaving word that somebody does');
});

t.test('a message younger than the CONTINUE wakes its sleeper', options, async (t) => {
  const trap = new TrappedMemory('handler');
  const sink = new Sink();
  const thread = new SyscallThread();
  t.teardown(async () => {
    trap.uffd.close(); // wakes whoever still sleeps
    await thread.end();
    trap.close();
    sink.close();
  });
  const write = thread.call('write', sink.fd, trap.guestAddress(2), PAGE);
  t.ok(trap.faultIsPending(), 'a thread sleeps on the page');
  // This resolver does not wake: it stands for a CONTINUE that came before the sleeper slept.
  t.equal(trap.resolver({ sleepers: false }).resolve(2), INSTALLED);
  t.equal(trap.resolver({ caller: 'handler', sleepers: true }).resolve(2), PRESENT);
  t.match(await write, { result: PAGE });
  t.strictSame(sink.words(), expected(2));
});

t.test(
  'a changing address space gives the page back, to be tried again',
  {
    ...options,
    skip: uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_EVENT_REMOVE),
  },
  async (t) => {
    const trap = new TrappedMemory('exit');
    const uffd = Userfaultfd.open(trap.memory.backing.uffdFeatures | UFFD_FEATURE_EVENT_REMOVE);
    const thread = new SyscallThread();
    t.teardown(async () => {
      uffd.close();
      await thread.end();
      trap.close();
    });
    const { guestAddress, bytes } = trap.memory.layout;
    trap.uffd.unregister(guestAddress, bytes);
    uffd.register(guestAddress, bytes, trap.memory.backing.uffdModes);
    const resolver = trap.resolver({ uffds: oneShare(uffd.fd) });
    t.equal(resolver.resolve(0), INSTALLED);

    const removal = thread.call('madvise', trap.guestAddress(8), PAGE, MADV_REMOVE);
    t.ok(isReadable(uffd.fd), 'the removal waits until its event is read');
    t.equal(resolver.resolve(1), RETRIED, 'UFFDIO_CONTINUE says EAGAIN');
    t.equal(trap.memory.states.stateOf(1), MISSING, 'the claim is given back');
    t.not(trap.pte(1), 'present');

    t.equal(read(uffd.fd, scratch.address, uffd_msg.size), uffd_msg.size);
    t.equal(scratch.u8[0], UFFD_EVENT_REMOVE);
    t.match(await removal, { result: 0 });
    t.equal(resolver.resolve(1), INSTALLED);
    t.equal(trap.memory.states.stateOf(1), MAPPED);
    t.equal(trap.pte(1), 'present');
  },
);
