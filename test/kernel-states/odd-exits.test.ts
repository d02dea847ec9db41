/** What KVM_RUN says, with a real vCPU, when memory or signals are not what they should be. */
import { constants } from 'node:os';
import t from 'tap';
import { createHandlerLoop } from '../../src/fault/handler-loop.js';
import { INSTALLED, MEMORY_ERROR, PRESENT } from '../../src/fault/outcome.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { fallocate, munmap, syscall } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { currentThreadId } from '../../src/ffi/thread.js';
import { chooseDelivery } from '../../src/machine/delivery.js';
import { fillMissing } from '../../src/machine/fill-missing.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { NEIGHBOURS, SYSCALLS } from '../../src/measure/counters.js';
import { BACKINGS, fileBacking } from '../../src/memory/backing.js';
import { MAPPED, MISSING, POISONED, stateOfWord } from '../../src/memory/page-states.js';
import type { PageSource } from '../../src/source/page-source.js';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from '../../src/uapi/mman.js';
import { BUS_MCEERR_AR, SIGBUS, siginfo_t } from '../../src/uapi/signal.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { GuestPages } from '../support/guest-pages.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { PAGE, SOURCE, TrappedMemory } from '../support/trapped-memory.js';

const { EFAULT } = constants.errno;
const skip = uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
const options = { skip, timeout: 60_000 };
const withVcpu = { ...options, skip: kvmSkip() || skip };
const SYS_rt_tgsigqueueinfo = 297;
const TOUCHED = FIRST_PAGE + 3;

function punch(fd: number, page: number): number {
  return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page * PAGE, PAGE);
}

t.test('guest memory that is not mapped any more ends the run', withVcpu, async (t) => {
  for (const delivery of ['kernel', 'exit'] as const) {
    const code = new GuestCode()
      .read(TOUCHED * PAGE)
      .step()
      .read(TOUCHED * PAGE)
      .exit();
    const guest = new SteppedGuest(t, code, { delivery });
    const { memory, installer } = guest.machine;
    if (delivery === 'kernel') {
      await fillMissing(memory, installer, async () => true);
    }
    const { end, seen } = guest.run([() => t.equal(munmap(guest.address(TOUCHED), PAGE), 0)]);
    const detail = delivery === 'kernel' ? 'KVM_RUN failed with EFAULT' : /EFAULT .* no address/;
    t.match(end, { reason: 'failed', detail });
    t.strictSame(seen, [guest.word(TOUCHED)]);
  }
});

t.test('SIGBUS for an address outside guest memory is a defect', withVcpu, async (t) => {
  const code = new GuestCode()
    .step()
    .read(TOUCHED * PAGE)
    .exit();
  const guest = new SteppedGuest(t, code, { delivery: 'exit' });
  const siginfo = new ScratchPage();
  const address = guest.memory.guestAddress + guest.memory.bytes;
  siginfo.s32[siginfo_t.offset.si_signo >> 2] = SIGBUS;
  siginfo.s32[siginfo_t.offset.si_code >> 2] = BUS_MCEERR_AR;
  siginfo.setU64(siginfo_t.offset.si_addr, address);
  const queue = (): number =>
    syscall(SYS_rt_tgsigqueueinfo, process.pid, currentThreadId(), SIGBUS, siginfo.address, 0);
  t.throws(() => guest.run([() => t.equal(queue(), 0)]), {
    code: 'defect',
    message: `SIGBUS code ${BUS_MCEERR_AR} at 0x${address.toString(16)}, outside guest memory`,
  });
});

t.test('a page that somebody else takes out of the file ends the run', withVcpu, async (t) => {
  for (const strategy of STRATEGIES) {
    const code = new GuestCode()
      .read(TOUCHED * PAGE)
      .step()
      .read(TOUCHED * PAGE)
      .exit();
    const guest = new SteppedGuest(t, code, { backing: 'shmem', delivery: 'exit', strategy });
    const { end, seen } = guest.run([() => t.equal(punch(guest.memory.fd, TOUCHED), 0)]);
    t.match(end, { reason: 'failed', detail: /EFAULT .* no address/ });
    t.strictSame(seen, [guest.word(TOUCHED)], 'no page of zeroes in its place');
  }
});

t.test('a sleeper on such a page is not served zeroes either', options, async (t) => {
  using trap = new TrappedMemory('handler');
  const { resolve, failure } = trap.resolver({ caller: 'handler', sleepers: true });
  t.equal(resolve(2), INSTALLED);
  t.equal(resolve(2), PRESENT);
  t.equal(punch(trap.memory.layout.fd, 2), 0);
  t.equal(trap.pte(2), 'none');
  t.equal(resolve(2), MEMORY_ERROR);
  t.strictSame(failure, { unit: 2, cause: 'map', errno: EFAULT });
  t.equal(trap.memory.states.stateOf(2), POISONED);
});

/** A source of which page `lost` leaves the file again, the first time that it is filled. */
function leaking(fd: number, lost: number): PageSource {
  let leaked = false;
  return {
    compare: SOURCE.compare.bind(SOURCE),
    fill: (page, words, first, count) => {
      SOURCE.fill(page, words, first, count);
      if (!leaked && page <= lost && lost < page + count / 1024) {
        leaked = true;
        punch(fd, lost);
      }
      return true;
    },
  };
}

t.test('a neighbour of which a part is mapped cannot be given back', options, async (t) => {
  using trap = new TrappedMemory('exit', 32, 4 * PAGE);
  const { states, layout } = trap.memory;
  const source = leaking(layout.fd, 10); // the third page of unit 2
  const { resolve } = trap.resolver({ around: 3, source });
  t.equal(resolve(1), INSTALLED);
  t.strictSame([...states.words].slice(0, 6).map(stateOfWord), [
    MISSING,
    MAPPED,
    POISONED,
    MISSING,
    MISSING,
    MISSING,
  ]);
  t.equal(trap.counters[NEIGHBOURS], 0);
  const view = new GuestPages(layout);
  t.strictSame(view.units().slice(0, 5), ['EFAULT', 'source', 'source,EFAULT', 'EFAULT', 'EFAULT']);
});

t.test('nor can the unit that was asked for', options, async (t) => {
  using trap = new TrappedMemory('exit', 32, 4 * PAGE);
  const { states, layout } = trap.memory;
  const { resolve, failure } = trap.resolver({ around: 3, source: leaking(layout.fd, 6) });
  t.equal(resolve(1), MEMORY_ERROR);
  t.strictSame(failure, { unit: 1, cause: 'map', errno: EFAULT });
  t.equal(states.stateOf(1), POISONED);
  t.equal(states.count(MISSING), 7, 'the others are given back');
});

t.test('a unit before which others were mapped is brought in alone', options, async (t) => {
  using trap = new TrappedMemory('exit', 32, 4 * PAGE);
  const { states, layout } = trap.memory;
  // Memory ends behind unit 7, so its neighbours lie before it.
  const { resolve } = trap.resolver({ around: 3, source: leaking(layout.fd, 28) });
  t.equal(resolve(7), INSTALLED);
  t.strictSame([...states.words].slice(3), [MISSING, MAPPED, MAPPED, MAPPED, MAPPED]);
  t.equal(trap.counters[NEIGHBOURS], 3);
  t.equal(new GuestPages(layout).unit(7), 'source');
});

t.test('a handler that is told to stop before it begins touches nothing', options, async (t) => {
  using trap = new TrappedMemory('handler');
  const control = new WorkerControl();
  const resolver = trap.resolver({ caller: 'handler', sleepers: true });
  const { counters, timing, memory } = trap;
  const loop = createHandlerLoop({
    memory: memory.layout,
    uffd: -1, // closed by now
    stopEvent: -1,
    resolver,
    poison: () => false,
    control,
    counters,
    timing,
  });
  control.stop();
  t.strictSame(loop(), { reason: 'stopped' });
  t.equal(counters[SYSCALLS], 0);
  t.equal(memory.states.count(MISSING), 16);
});

t.test('auto: memory that userfaultfd does not take is left to the kernel', async (t) => {
  const { delivery, why } = chooseDelivery(fileBacking('PATH', 'shared', 'regular', PAGE));
  t.equal(delivery.name, 'kernel');
  t.match(why, /other file systems are brought in by the kernel/);
  const chosen = chooseDelivery(BACKINGS.shmem);
  t.match(chosen, { delivery: { name: skip ? 'handler' : 'exit' }, why: /^this kernel/ });
});
