/**
 * Pages that were brought in, and that somebody has write-protected by userfaultfd since. Nobody here
 * does, so a write to one is an error that says so; it must neither be retried for ever nor sleep.
 */
import { once } from 'node:events';
import { constants } from 'node:os';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import type { MemoryErrorCause } from '../../src/fault/memory-error.js';
import { INSTALLED, MEMORY_ERROR, PRESENT } from '../../src/fault/outcome.js';
import type { Strategy } from '../../src/fault/revisit.js';
import { WakeEvent } from '../../src/ffi/descriptor.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { COUNTER_ROW_BYTES } from '../../src/measure/counters.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import {
  UFFD_FEATURE_POISON,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
} from '../../src/uapi/userfaultfd.js';
import type { UffdCalls } from '../../src/uffd/userfaultfd.js';
import { GuestPages } from '../support/guest-pages.js';
import type { HandlerThreadData } from '../support/handler-thread.js';
import { kvmSkip } from '../support/host.js';
import { scan, scanSkip } from '../support/page-scan.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

const { EFAULT } = constants.errno;
const skip = scanSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
const options = { skip, timeout: 60_000 };
const withVcpu = { ...options, skip: kvmSkip() || skip };
const TOUCHED = FIRST_PAGE + 3;
const KINDS = ['anon-private', 'shmem'] as const;

function protect(t: Test, uffd: UffdCalls, address: number): void {
  t.match(scan(address), /PRESENT WRITTEN/);
  uffd.writeProtect(address, PAGE);
  t.notMatch(scan(address), /WRITTEN/);
  t.comment(`UFFDIO_WRITEPROTECT; PAGEMAP_SCAN says ${scan(address)}, and not WRITTEN any more`);
}

for (const backing of KINDS) {
  for (const strategy of STRATEGIES) {
    t.test(`${backing}, exit, ${strategy}: a vCPU reads it on`, withVcpu, async (t) => {
      const code = new GuestCode().write(TOUCHED * PAGE + 8, 0x600d).step();
      code
        .read(TOUCHED * PAGE)
        .read(TOUCHED * PAGE + 8)
        .exit();
      const guest = new SteppedGuest(t, code, { backing, delivery: 'exit', strategy });
      const { end, seen } = guest.run([
        () => protect(t, guest.machine.uffd!, guest.address(TOUCHED)),
      ]);
      t.strictSame(end, { reason: 'exited', code: 0 });
      t.strictSame(seen, [guest.word(TOUCHED), 0x600d]);
      t.match(guest.counts, { faults: 1, installed: 1 });
      t.notMatch(scan(guest.address(TOUCHED)), /WRITTEN/, 'and it stays protected');
    });

    t.test(`${backing}, exit, ${strategy}: its write ends the run`, withVcpu, async (t) => {
      const code = new GuestCode()
        .read(TOUCHED * PAGE)
        .step()
        .write(TOUCHED * PAGE, 0xbad)
        .exit();
      const guest = new SteppedGuest(t, code, { backing, delivery: 'exit', strategy });
      const { end } = guest.run([() => protect(t, guest.machine.uffd!, guest.address(TOUCHED))]);
      t.match(end, { reason: 'failed', detail: /EFAULT and gave no address: .*write-protected/ });
      const { installed, retried, remapped } = guest.counts;
      t.match({ installed, remapped }, { installed: 1, remapped: 0 });
      t.ok(retried >= 100, `retried ${retried} times: the kernel might have been at something`);
      t.equal(
        new GuestPages(guest.memory).bytes(TOUCHED * PAGE, 4).join(),
        [...new Uint8Array(Uint32Array.of(guest.word(TOUCHED)).buffer)].join(),
        'nothing was written',
      );
    });

    t.test(`${backing}, ${strategy}: a protected page that exits`, options, async (t) => {
      t.comment('KVM gives no address for it: the resolver is asked directly');
      using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS[backing]);
      const { resolve, failure } = trap.resolver({ strategy });
      t.equal(resolve(2), INSTALLED);
      protect(t, trap.uffd, trap.guestAddress(2));
      t.equal(resolve(2), PRESENT);
      t.equal(resolve(2), MEMORY_ERROR);
      const verdicts: Record<Strategy, { cause: MemoryErrorCause; errno: number }> = {
        'no-slow-gup': { cause: 'populate', errno: EFAULT }, // MADV_POPULATE_WRITE does not sleep
        'no-uffd-wait': { cause: 'repeated', errno: 0 },
      };
      t.match(failure, { unit: 2, ...verdicts[strategy] });
      t.equal(new GuestPages(trap.memory.layout).page(2), 'source');
      t.notMatch(scan(trap.guestAddress(2)), /WRITTEN/);
    });
  }

  t.test(`${backing}: EEXIST for a protected page leaves it protected`, options, async (t) => {
    for (const caller of ['vcpu', 'handler', 'prefetch'] as const) {
      using trap = new TrappedMemory('exit', 16, PAGE, BACKINGS[backing]);
      const { resolve } = trap.resolver({ caller });
      t.equal(resolve(2), INSTALLED);
      protect(t, trap.uffd, trap.guestAddress(2));
      trap.memory.states.words[2] = MISSING; // as if somebody else had brought it in
      t.equal(resolve(2), PRESENT);
      t.equal(trap.memory.states.stateOf(2), MAPPED);
      t.notMatch(scan(trap.guestAddress(2)), /WRITTEN/);
      t.equal(new GuestPages(trap.memory.layout).page(2), 'source');
    }
  });

  t.test(`${backing}, handler: a sleeper on a protected page ends the run`, options, async (t) => {
    const trap = new TrappedMemory('handler', 16, PAGE, BACKINGS[backing]);
    const stop = new WakeEvent();
    const thread = new SyscallThread();
    t.equal(trap.resolver({ caller: 'prefetch', sleepers: true }).resolve(2), INSTALLED);
    protect(t, trap.uffd, trap.guestAddress(2));
    const data: HandlerThreadData = {
      memory: trap.memory.layout,
      uffd: trap.uffd.fd,
      stopEvent: stop.fd,
      counters: new SharedArrayBuffer(COUNTER_ROW_BYTES),
    };
    const handler = new Worker(new URL('../support/handler-thread.js', import.meta.url), {
      workerData: data,
    });
    t.teardown(async () => {
      stop.signal();
      await handler.terminate();
      trap.uffd.close(); // wakes the sleeper
      await thread.end();
      trap.close();
      stop.close();
    });
    const failed = once(handler, 'error');
    // read(2) stores into the page, as a vCPU would.
    void thread
      .call('eventfd', 1, 0)
      .then(({ result }) => thread.call('read', result, trap.guestAddress(2), 8));
    const [error] = (await failed) as [Error];
    t.match(error.message, /write-protected/);
  });
}
