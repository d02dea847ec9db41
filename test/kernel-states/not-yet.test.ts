/** Calls that the kernel does not make yet, makes in part, or breaks off. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { createHandlerLoop } from '../../src/fault/handler-loop.js';
import { INSTALLED, RETRIED } from '../../src/fault/outcome.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { WakeEvent } from '../../src/ffi/descriptor.js';
import { read } from '../../src/ffi/libc.js';
import { ScratchPage, scratch } from '../../src/ffi/scratch.js';
import { currentThreadId, kickThread } from '../../src/ffi/thread.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { SYSCALLS } from '../../src/measure/counters.js';
import { BACKINGS } from '../../src/memory/backing.js';
import type { GuestMemory } from '../../src/memory/guest-memory.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { markerFeatures, type Trap } from '../../src/memory/trap.js';
import { POLLIN } from '../../src/uapi/fcntl.js';
import { MADV_DONTNEED, MADV_REMOVE } from '../../src/uapi/mman.js';
import { SYS_tgkill } from '../../src/uapi/syscall.js';
import {
  UFFD_EVENT_REMOVE,
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_POISON,
  UFFD_FEATURE_SIGBUS,
  UFFDIO_CONTINUE,
  uffd_msg,
  uffdio_continue,
  uffdio_range,
} from '../../src/uapi/userfaultfd.js';
import { type UffdCalls, Userfaultfd } from '../../src/uffd/userfaultfd.js';
import type { CountedCall } from '../support/counted-call-thread.js';
import { Deadline } from '../support/deadline.js';
import { GuestPages } from '../support/guest-pages.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { oneShare } from '../support/one-share.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { isReadable, PAGE, SOURCE, TrappedMemory } from '../support/trapped-memory.js';

const skip = uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS | UFFD_FEATURE_EVENT_REMOVE);
const options = { skip, timeout: 60_000 };
const withVcpu = { ...options, skip: kvmSkip() || skip };
const KINDS = ['anon-private', 'shmem'] as const;
type Kind = (typeof KINDS)[number];
/** What sends UFFD_EVENT_REMOVE, and sleeps until that has been read. */
const REMOVAL = { 'anon-private': MADV_DONTNEED, shmem: MADV_REMOVE } as const;

/** Takes a range over from another userfaultfd, as one that is told of what is removed from it. */
function tellOfRemovals(
  { layout }: GuestMemory,
  from: UffdCalls,
  { modes, marked }: Trap,
  first = 0,
  bytes = layout.bytes,
): { uffd: Userfaultfd; trap: Trap } {
  const features = marked ? markerFeatures(layout.backing) : layout.backing.uffdFeatures;
  const uffd = Userfaultfd.open(features | UFFD_FEATURE_EVENT_REMOVE);
  const address = layout.guestAddress + first * PAGE;
  from.unregister(address, bytes); // markers stay
  uffd.register(address, bytes, layout.backing.uffdModes);
  return { uffd, trap: { uffds: oneShare(uffd.fd), modes, exits: marked, marked, poisons: true } };
}

/** Reads the event that a removal waits for. */
function readRemoval(t: Test, uffd: number): void {
  t.equal(read(uffd, scratch.address, uffd_msg.size), uffd_msg.size);
  t.equal(scratch.u8[0], UFFD_EVENT_REMOVE);
}

/** A removal of page 14 that has begun, and goes on once its event is read. */
async function removing(t: Test, kind: Kind, delivery: 'exit' | 'handler' = 'exit') {
  const trap = new TrappedMemory(delivery, 16, PAGE, BACKINGS[kind]);
  const { uffd } = tellOfRemovals(trap.memory, trap.uffd, trap.trap);
  const thread = new SyscallThread();
  t.teardown(async () => {
    uffd.close(); // lets the removal go on
    await thread.end();
    trap.close();
  });
  const removal = thread.call('madvise', trap.guestAddress(14), PAGE, REMOVAL[kind]);
  t.ok(isReadable(uffd.fd), 'a removal waits until its event is read');
  t.comment(`poll: UFFD_EVENT_REMOVE is pending, its thread sleeps in madvise`);
  return { trap, uffd, removal };
}

for (const kind of KINDS) {
  for (const strategy of STRATEGIES) {
    t.test(`${kind}, ${strategy}: a removal is pending`, options, async (t) => {
      const { trap, uffd, removal } = await removing(t, kind);
      const { resolve } = trap.resolver({ uffds: oneShare(uffd.fd), strategy });
      t.equal(resolve(1), RETRIED, 'EAGAIN');
      t.equal(resolve(1), RETRIED, 'as often as it is asked');
      t.equal(trap.memory.states.stateOf(1), MISSING, 'the claim is given back');
      readRemoval(t, uffd.fd);
      t.match(await removal, { result: 0 });
      t.equal(resolve(1), INSTALLED);
      t.equal(new GuestPages(trap.memory.layout).page(1), 'source');
    });

    t.test(`${kind}, ${strategy}: a vCPU exits until the removal is done`, withVcpu, async (t) => {
      const code = new GuestCode().read((FIRST_PAGE + 1) * PAGE).exit();
      const guest = new SteppedGuest(t, code, { backing: kind, delivery: 'exit', strategy });
      const {
        memory,
        uffds: [before],
        trap,
      } = guest.machine;
      const taken = tellOfRemovals(memory, before!, trap!, FIRST_PAGE, 16 * PAGE);
      const thread = new SyscallThread();
      t.teardown(async () => {
        taken.uffd.close();
        await thread.end();
      });
      const address = guest.address(FIRST_PAGE + 14);
      const removal = thread.call('madvise', address, PAGE, REMOVAL[kind]);
      t.ok(isReadable(taken.uffd.fd), 'a removal waits until its event is read');
      let fills = 0;
      const source = {
        compare: guest.source.compare.bind(guest.source),
        fill: (...args: Parameters<typeof guest.source.fill>) => {
          if (++fills === 4) {
            readRemoval(t, taken.uffd.fd); // the removal goes on while this goes on
          }
          return guest.source.fill(...args);
        },
      };
      const { end, seen } = guest.run([], { source, trap: taken.trap, uffds: taken.trap.uffds });
      t.strictSame(end, { reason: 'exited', code: 0 });
      t.strictSame(seen, [guest.word(FIRST_PAGE + 1)]);
      const { installed, retried, faults } = guest.counts;
      t.equal(installed, 1);
      t.ok(retried >= 3, `${retried} times`);
      t.equal(faults, installed + retried, 'each an exit');
      t.match(await removal, { result: 0 });
    });
  }

  t.test(`${kind}: with neighbours, all are given back`, options, async (t) => {
    const { trap, uffd, removal } = await removing(t, kind);
    const { resolve } = trap.resolver({ uffds: oneShare(uffd.fd), around: 7 });
    t.equal(resolve(4), RETRIED);
    t.equal(trap.memory.states.count(MISSING), 16);
    readRemoval(t, uffd.fd);
    t.match(await removal, { result: 0 });
    t.equal(resolve(4), INSTALLED);
    t.equal(trap.memory.states.count(MAPPED), 8);
  });

  t.test(`${kind}: for a handler an event is a defect`, options, async (t) => {
    const { trap, uffd } = await removing(t, kind, 'handler');
    using stop = new WakeEvent();
    const { resolve, failure } = trap.resolver({ caller: 'handler', sleepers: true });
    const loop = createHandlerLoop({
      memory: trap.memory.layout,
      uffds: [uffd.fd],
      stopEvent: stop.fd,
      resolver: { resolve, failure },
      poison: () => false,
      control: new WorkerControl(),
      counters: trap.counters,
      timing: trap.timing,
    });
    t.throws(loop, { code: 'defect', message: `event ${UFFD_EVENT_REMOVE}` });
  });

  t.test(`${kind}: a run is mapped in part, and then the rest of it`, options, async (t) => {
    using trap = new TrappedMemory('exit', 16, 8 * PAGE, BACKINGS[kind]);
    const view = new GuestPages(trap.memory.layout);
    for (const page of [11, 13]) {
      mapBehind(trap, kind, page);
      view.write(page * PAGE, Buffer.from('from the guest'));
    }
    const before = trap.counters[SYSCALLS]!;
    t.equal(trap.resolver().resolve(1), INSTALLED);
    // Of pages 8 to 15: 3 mapped, one there, one mapped, one there, the last 2. shmem is allocated first.
    t.equal(trap.counters[SYSCALLS]! - before, 5 + (kind === 'shmem' ? 1 : 0));
    t.comment('system calls: UFFDIO_* returned a partial `mapped` twice, EEXIST twice, and 0');
    for (const page of [8, 9, 10, 12, 14, 15]) {
      t.equal(view.page(page), 'source', `page ${page}`);
    }
    if (kind === 'anon-private') {
      for (const page of [11, 13]) {
        t.equal(Buffer.from(view.bytes(page * PAGE, 14)).toString(), 'from the guest');
      }
    }
  });

  t.test(`${kind}: a removal begins when a run is mapped in half`, options, async (t) => {
    let met = false;
    for (let attempt = 0; attempt < 10 && !met; attempt++) {
      met = await removeHalfWay(t, kind);
    }
    t.ok(met, 'EAGAIN came after the first page');
  });
}

/** Maps a page that the resolver knows nothing of. */
function mapBehind(trap: TrappedMemory, kind: Kind, page: number): void {
  if (kind === 'shmem') {
    trap.fill(page);
    trap.uffd.continueRange(trap.guestAddress(page), PAGE, PAGE);
  } else {
    const staging = new ScratchPage(PAGE);
    SOURCE.fill(page, staging.s32, 0, 1024);
    trap.uffd.copy(trap.guestAddress(page), staging.address, PAGE);
  }
}

/**
 * Every other page of a run is mapped already, so that mapping the rest takes a call and an EEXIST a
 * page. A thread begins a removal when the first of them are made; another reads its event when more
 * have been made than can be without EAGAIN.
 *
 * @returns false if the first thread was too late
 */
async function removeHalfWay(t: Test, kind: Kind): Promise<boolean> {
  const UNITS = 16;
  const pages = (UNITS * HUGE_PAGE_BYTES) / PAGE;
  const backing = BACKINGS[kind];
  using trap = new TrappedMemory('exit', pages + 512, HUGE_PAGE_BYTES, backing);
  for (let page = 1; page < pages; page += 2) {
    mapBehind(trap, kind, page);
  }
  const { uffd } = tellOfRemovals(trap.memory, trap.uffd, trap.trap);
  const counters = trap.counters.buffer as SharedArrayBuffer;
  const start = (call: CountedCall): Worker =>
    new Worker(new URL('../support/counted-call-thread.js', import.meta.url), { workerData: call });
  const most = 2 * pages;
  const event = new ScratchPage(uffd_msg.size);
  const remover = start({
    counters,
    after: 100,
    call: 'madvise',
    args: [trap.guestAddress(pages + 1), PAGE, REMOVAL[kind]],
  });
  const reader = start({
    counters,
    after: most + 100,
    call: 'read',
    args: [uffd.fd, event.address, uffd_msg.size],
  });
  await Promise.all([once(remover, 'message'), once(reader, 'message')]);
  const removed = once(remover, 'message');
  const wasRead = once(reader, 'message');

  const outcome = trap.resolver({ uffds: oneShare(uffd.fd), around: UNITS - 1 }).resolve(0);
  const made = trap.counters[SYSCALLS]!;
  t.equal(outcome, INSTALLED);
  t.equal(trap.memory.states.count(MAPPED), UNITS);
  const view = new GuestPages(trap.memory.layout);
  t.ok(
    Array.from({ length: pages }, (_, page) => view.page(page)).every((page) => page === 'source'),
  );
  const met = made > most;
  trap.counters[SYSCALLS] = most + 100; // lets a reader go that nobody needed
  t.strictSame(await Promise.all([removed, wasRead]), [[0], [uffd_msg.size]]);
  if (met) {
    t.equal(event.u8[0], UFFD_EVENT_REMOVE);
    t.comment(`${made} calls for ${pages} pages: more than ${most} are not made without EAGAIN`);
  }
  uffd.close();
  return met;
}

t.test('a kick ends KVM_RUN with EINTR, and nothing else', withVcpu, async (t) => {
  for (const backing of KINDS) {
    for (const strategy of STRATEGIES) {
      const code = new GuestCode()
        .step()
        .read(FIRST_PAGE * PAGE)
        .step()
        .read(FIRST_PAGE * PAGE + 4);
      const guest = new SteppedGuest(t, code.exit(), { backing, delivery: 'exit', strategy });
      const kick = (): void => kickThread(currentThreadId());
      const { end, seen } = guest.run([kick, kick]);
      t.strictSame(end, { reason: 'exited', code: 0 });
      t.strictSame(seen, [guest.word(FIRST_PAGE), guest.word(FIRST_PAGE, 1)]);
      const { kvmRuns, faults, installed, retried } = guest.counts;
      t.match({ faults, installed, retried }, { faults: 1, installed: 1, retried: 0 });
      t.equal(kvmRuns, 5 + 1 + 2, 'port accesses, the fault, and one for each kick');
    }
  }
});

t.test('a vCPU that sleeps on a missing page is woken by a kick', withVcpu, async (t) => {
  const deadline = new Deadline(30_000);
  t.teardown(() => deadline.end());
  deadline.begin('a kick of a sleeping vCPU');
  const code = new GuestCode().read(FIRST_PAGE * PAGE).exit();
  const guest = new SteppedGuest(t, code, { delivery: 'handler' });
  const thread = new SyscallThread();
  t.teardown(() => thread.end());
  const {
    uffds: [uffd],
    memory,
  } = guest.machine;
  const page = new ScratchPage();
  const pollfd = page.address;
  const message = page.address + 64;
  const argument = page.address + 128;
  page.s32[0] = uffd!.fd;
  page.u16[2] = POLLIN;
  const { offset } = uffdio_continue;
  page.setU64(128 + offset.range + uffdio_range.offset.start, guest.address(FIRST_PAGE));
  page.setU64(128 + offset.range + uffdio_range.offset.len, PAGE);
  t.ok(guest.machine.installer.fill(FIRST_PAGE, 1));
  // One after another, while this thread is in KVM_RUN.
  const waits = (): unknown => thread.call('poll', pollfd, 1, 10_000);
  const reads = (): unknown => thread.call('read', uffd!.fd, message, uffd_msg.size);
  void waits();
  void reads();
  void thread.call('syscall', SYS_tgkill, process.pid, currentThreadId(), 12, 0, 0);
  void waits(); // it has been out, and sleeps again
  void reads();
  void thread.call('ioctl', uffd!.fd, UFFDIO_CONTINUE, argument);
  const { end, seen } = guest.run([]);
  t.strictSame(end, { reason: 'exited', code: 0 });
  t.strictSame(seen, [guest.word(FIRST_PAGE)]);
  t.match(guest.counts, { faults: 0, kvmRuns: 3 }, 'one ended by the kick, two by ports');
  t.equal(memory.states.stateOf(FIRST_PAGE), MISSING, 'the resolver had no part in it');
});
