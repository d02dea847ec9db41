/**
 * The run loop against a KVM_RUN that a test scripts: exits this kernel never makes (an annotated
 * KVM_EXIT_MEMORY_FAULT), and those that must end the run instead of being retried for ever.
 */

import { openSync } from 'node:fs';
import t, { type Test } from 'tap';
import { encodeReason } from '../../src/fault/memory-error.js';
import { createTrapReader } from '../../src/fault/trap-marker.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { close, ioctl, madvise, read } from '../../src/ffi/libc.js';
import { blockVcpuSignals } from '../../src/ffi/thread.js';
import { readCounters } from '../../src/measure/counters.js';
import { BACKINGS, type Backing } from '../../src/memory/backing.js';
import { MAPPED, poisonedBecause } from '../../src/memory/page-states.js';
import {
  KVM_EXIT_DEBUG,
  KVM_EXIT_HLT,
  KVM_EXIT_MEMORY_FAULT,
  KVM_EXIT_SHUTDOWN,
  kvm_run_memory_fault,
} from '../../src/uapi/kvm-run.js';
import { MADV_DONTNEED } from '../../src/uapi/mman.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { createGuestPorts } from '../../src/vcpu/guest-ports.js';
import type { MemoryErrors } from '../../src/vcpu/memory-errors.js';
import { createRunLoop, type VcpuEnd } from '../../src/vcpu/run-loop.js';
import { FakeRunPage } from '../support/fake-run-page.js';
import { uffdSkip } from '../support/host.js';
import { expected, PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS), timeout: 20_000 };
blockVcpuSignals();

/** Fails as KVM_RUN would, with a real errno: EFAULT of a read into page 0, EBADF of no descriptor. */
const zero = openSync('/dev/zero', 'r');
t.teardown(() => close(zero));
const failWithEfault = (): number => read(zero, 1, 8);
const failWithEbadf = (): number => ioctl(-1, 0, 0);

/** Runs the loop over a script: each step stands for one KVM_RUN. */
function script(
  t: Test,
  steps: readonly ((page: FakeRunPage, control: WorkerControl) => number)[],
  trapped = true,
  backing: Backing = BACKINGS.shmem,
  onMemory: (memory: TrappedMemory) => void = () => undefined,
  answer: MemoryErrors['answer'] = () => false,
): { end: VcpuEnd; memory: TrappedMemory; steps: number } {
  const memory = new TrappedMemory('exit', 16, PAGE, backing);
  t.teardown(() => memory.close());
  onMemory(memory);
  const fake = new FakeRunPage();
  const control = new WorkerControl();
  let step = 0;
  const run = createRunLoop({
    enter: () => {
      const next = steps[step++];
      if (next === undefined) {
        throw new Error('the loop went on after its script');
      }
      return next(fake, control);
    },
    page: fake.page,
    memory: memory.memory.layout,
    resolver: memory.resolver(),
    ports: createGuestPorts(() => undefined),
    traps: createTrapReader(memory.memory.layout),
    control,
    counters: memory.counters,
    timing: memory.timing,
    memoryErrors: { answer, records: [], count: () => 0 },
    wake: () => undefined,
    trap: trapped ? memory.trap : null,
  });
  return { end: run(), memory, steps: step };
}

const halt = (fake: FakeRunPage): number => {
  fake.exit(KVM_EXIT_HLT);
  return 0;
};

const memoryFault =
  (address: number, fail: () => number) =>
  (fake: FakeRunPage): number => {
    fake.bytes.setU64(kvm_run_memory_fault.offset.gpa, address);
    fake.bytes.setU64(kvm_run_memory_fault.offset.size, PAGE);
    fake.exit(KVM_EXIT_MEMORY_FAULT);
    return fail();
  };

t.test(
  'an annotated memory fault is resolved by its address, without a signal',
  options,
  async (t) => {
    const { end, memory } = script(t, [memoryFault(5 * PAGE + 8, failWithEfault), halt]);
    t.match(end, { reason: 'halted' });
    t.equal(memory.pte(5), 'present');
    t.strictSame(new Int32Array(memory.alias.read(5 * PAGE, PAGE).buffer), expected(5));
    t.match(readCounters(memory.counters), {
      faults: 1,
      installed: 1,
      memoryFaultExits: 1,
      syscalls: 3, // KVM_RUN twice, UFFDIO_CONTINUE once
    });
  },
);

t.test('an annotation outside RAM ends the run', options, async (t) => {
  const { end, steps } = script(t, [memoryFault(16 * PAGE, failWithEfault)]);
  t.match(end, { reason: 'failed' });
  t.equal(steps, 1);
});

/** More often than the kernel could be in the middle of something that explains it. */
const failForGood = Array.from({ length: 101 }, () => failWithEfault);

t.test('EFAULT without an address, time after time, ends the run', options, async (t) => {
  const { end, memory, steps } = script(t, failForGood);
  t.equal(steps, failForGood.length);
  t.match(end, { reason: 'failed', detail: /EFAULT and gave no address.*trap marker/ });
  t.ok(
    memory.ptes().every((pte) => pte === 'marker'),
    'nothing was mapped in its place',
  );
});

t.test('EFAULT without an address that passes is made again', options, async (t) => {
  const { end, memory } = script(t, [failWithEfault, failWithEfault, halt]);
  t.match(end, { reason: 'halted' });
  t.match(readCounters(memory.counters), { faults: 2, retried: 2 });
});

t.test('an annotation left from the exit before is not believed', options, async (t) => {
  const { end, memory } = script(t, [memoryFault(3 * PAGE, failWithEfault), ...failForGood]);
  t.match(end, { reason: 'failed', detail: /no address/ });
  t.match(readCounters(memory.counters), { memoryFaultExits: 1, installed: 1, retried: 100 });
});

t.test('any other failure of KVM_RUN ends the run with its name', options, async (t) => {
  t.match(script(t, [failWithEbadf]).end, { reason: 'failed', detail: /EBADF/ });
});

t.test('an exit nobody serves ends the run with its name', options, async (t) => {
  const debug = (fake: FakeRunPage): number => {
    fake.exit(KVM_EXIT_DEBUG);
    return 0;
  };
  t.match(script(t, [debug]).end, { reason: 'failed', detail: /KVM_EXIT_DEBUG/ });
});

t.test('a triple fault is a shutdown', options, async (t) => {
  const shutdown = (fake: FakeRunPage): number => {
    fake.exit(KVM_EXIT_SHUTDOWN);
    return 0;
  };
  t.match(script(t, [shutdown]).end, { reason: 'shutdown' });
});

t.test('a stop is seen before the next entry', options, async (t) => {
  const stopInside = (fake: FakeRunPage, control: WorkerControl): number => {
    control.stop();
    return memoryFault(0, failWithEfault)(fake);
  };
  const { end, memory, steps } = script(t, [stopInside, halt]);
  t.match(end, { reason: 'stopped' });
  t.equal(steps, 1);
  t.equal(memory.pte(0), 'present', 'the fault it had taken is resolved');
});

t.test(
  'in-RAM MMIO brings the page in once, then is served from the alias mapping',
  options,
  async (t) => {
    const readWord = (fake: FakeRunPage): number => {
      fake.mmio(7 * PAGE + 4, 4, false);
      return 0;
    };
    const seen: number[][] = [];
    const look = (fake: FakeRunPage): number => {
      seen.push(fake.mmioData().slice(0, 4));
      return readWord(fake);
    };
    const { end, memory } = script(t, [readWord, look, halt]);
    t.match(end, { reason: 'halted' });
    t.strictSame(seen[0], [...new Uint8Array(expected(7).buffer, 4, 4)]);
    t.match(readCounters(memory.counters), { faults: 1, ramAccesses: 2 });
    t.equal(memory.memory.states.stateOf(7), MAPPED);
  },
);

t.test(
  'in-RAM MMIO to a private mapping whose entry the kernel has dropped is served all the same',
  options,
  async (t) => {
    let guestAddress = 0;
    const seen: number[][] = [];
    const readWord = (fake: FakeRunPage): number => {
      fake.mmio(7 * PAGE + 4, 4, false);
      return 0;
    };
    const dropAndRead = (fake: FakeRunPage): number => {
      // As reclaim does: the entry goes, the page stays in the file.
      t.equal(madvise(guestAddress + 7 * PAGE, PAGE, MADV_DONTNEED), 0);
      return readWord(fake);
    };
    const look = (fake: FakeRunPage): number => {
      seen.push(fake.mmioData().slice(0, 4));
      return halt(fake);
    };
    const steps = [readWord, dropAndRead, look];
    const found = (memory: TrappedMemory): void => {
      guestAddress = memory.memory.layout.guestAddress;
    };
    const { end, memory } = script(t, steps, true, BACKINGS['shmem-private'], found);
    t.match(end, { reason: 'halted' });
    t.strictSame(seen[0], [...new Uint8Array(expected(7).buffer, 4, 4)]);
    t.match(readCounters(memory.counters), { faults: 2, installed: 1, remapped: 1 });
    t.equal(memory.memory.states.stateOf(7), MAPPED);
  },
);

t.test('MMIO outside RAM reads ones', options, async (t) => {
  const outside = (fake: FakeRunPage): number => {
    fake.mmio(0xfee0_0000, 4, false);
    return 0;
  };
  let data: number[] = [];
  const look = (fake: FakeRunPage): number => {
    data = fake.mmioData();
    return halt(fake);
  };
  t.match(script(t, [outside, look]).end, { reason: 'halted' });
  t.strictSame(data, Array(8).fill(0xff));
});

t.test('a guest that was told of a memory error runs on', options, async (t) => {
  const told: number[] = [];
  const { end, steps } = script(
    t,
    [memoryFault(2 * PAGE + 8, failWithEfault), halt],
    true,
    BACKINGS.shmem,
    ({ memory }) => memory.states.publish(2, poisonedBecause(encodeReason('asked', 0))),
    ({ cause }, gpa, emulated) => {
      t.strictSame([cause, emulated], ['asked', false]);
      told.push(gpa);
      return true;
    },
  );
  t.strictSame(end, { reason: 'halted' });
  t.equal(steps, 2);
  t.strictSame(told, [2 * PAGE + 8]);
});
