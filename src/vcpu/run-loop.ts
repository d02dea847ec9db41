import { constants } from 'node:os';
import type { FaultTiming } from '../fault/fault-timing.js';
import type { MemoryFailure } from '../fault/memory-error.js';
import { MEMORY_ERROR, type Outcome, REMAPPED, RETRIED } from '../fault/outcome.js';
import type { Resolver } from '../fault/resolver.js';
import { FOREIGN_TRAP, NO_TRAP, type TrapReader } from '../fault/trap-marker.js';
import type { Wake } from '../fault/wake.js';
import type { WorkerControl } from '../fault/worker-control.js';
import { DefectError, SyscallError } from '../ffi/errors.js';
import { errno } from '../ffi/libc.js';
import type { RunPage } from '../kvm/run-page.js';
import {
  FAULTS,
  FIRST_OUTCOME,
  KVM_RUNS,
  MEMORY_FAULT_EXITS,
  PORT_ACCESSES,
  RAM_ACCESSES,
  SYSCALLS,
} from '../measure/counters.js';
import { MemoryChanges } from '../memory/changes.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { MAPPED, PageStates } from '../memory/page-states.js';
import { explainAbsence } from '../memory/repair.js';
import type { Trap } from '../memory/trap.js';
import {
  KVM_EXIT_HLT,
  KVM_EXIT_IO,
  KVM_EXIT_MEMORY_FAULT,
  KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN,
  kvm_run_mmio,
} from '../uapi/kvm-run.js';
import { describeExit, describeRunError, unemulatedCode } from './describe-exit.js';
import type { MemoryErrors } from './memory-errors.js';
import type { Ports } from './ports.js';
import { createRamAccess } from './ram-access.js';

const { EAGAIN, EFAULT, EINTR } = constants.errno;
const EHWPOISON = 133; // absent from node:os

/** Faults without an address that nothing explains: this many in a row are a defect. */
const MOST_UNEXPLAINED = 100;
/** A vCPU that ran for this long since the last one has got further. */
const SAME_FAULT_MILLISECONDS = 10;
/** A collapse of 2 MiB takes about half of that. */
const UNEXPLAINED_WAIT_MILLISECONDS = 1;

/** How a vCPU's run ended. */
export type VcpuEnd =
  /** It wrote its exit code. */
  | { readonly reason: 'exited'; readonly code: number }
  /** HLT with nothing to wake it. */
  | { readonly reason: 'halted' }
  /** Triple fault. */
  | { readonly reason: 'shutdown' }
  /** It switched the machine off, or reset it: the end of all vCPUs. */
  | { readonly reason: 'powered-off' }
  | { readonly reason: 'reset' }
  /** It was told to. */
  | { readonly reason: 'stopped' }
  /** `emulated`: in an access that KVM emulates, which no machine check can answer. */
  | {
      readonly reason: 'memory-error';
      readonly failure: MemoryFailure;
      /** What was touched. */
      readonly gpa: number;
      readonly emulated: boolean;
    }
  /**
   * An exit that this VMM has no answer to; `detail` is a sentence. `code`: KVM could not emulate an
   * instruction, whose bytes it gave, or none.
   */
  | { readonly reason: 'failed'; readonly detail: string; readonly code?: readonly number[] };

export interface RunLoopOptions {
  /** KVM_RUN of this vCPU: 0, or -1 with errno. */
  readonly enter: () => number;
  readonly page: RunPage;
  readonly memory: GuestMemoryLayout;
  readonly resolver: Resolver;
  readonly ports: Ports;
  readonly traps: TrapReader;
  readonly control: WorkerControl;
  readonly counters: Float64Array;
  readonly timing: FaultTiming;
  readonly memoryErrors: MemoryErrors;
  /** For those who sleep in the kernel on a unit that was claimed here: handler delivery. */
  readonly wake: Wake;
  /** Exit delivery: how missing pages are trapped. Null where this thread resolves no faults. */
  readonly trap: Trap | null;
}

/** An exit that ends the run because nothing here serves it. */
function failedExit(page: RunPage, trapped: boolean): VcpuEnd {
  const detail = describeExit(page, trapped);
  const code = unemulatedCode(page);
  return code === null ? { reason: 'failed', detail } : { reason: 'failed', detail, code };
}

/**
 * The run loop of one vCPU, on its own thread. In exit delivery a fault costs three system calls:
 * KVM_RUN (35 to 45 µs of a software KVM, 1 to 2 on VMX or SVM), sigtimedwait, UFFDIO_CONTINUE
 * (1.4 µs). Allocates nothing per fault.
 */
export function createRunLoop(options: RunLoopOptions): () => VcpuEnd {
  const { enter, page, memory, resolver, ports, traps, control, counters, timing, trap } = options;
  const { memoryErrors, wake } = options;
  const { resolve } = resolver;
  const takeTrap = traps.take;
  const accessRam = createRamAccess(memory);
  const states = new PageStates(memory.states);
  const changes = new MemoryChanges(memory.changes);
  const { guestAddress, bytes, unitBytes } = memory;

  /** Resolves a unit on behalf of the guest, and counts. False: a memory error. */
  function fault(unit: number): boolean {
    timing.identified();
    counters[FAULTS]! += 1;
    const outcome = resolve(unit);
    counters[FIRST_OUTCOME + outcome]! += 1;
    timing.resolved();
    return outcome !== MEMORY_ERROR;
  }

  /** What to do about the failure that `fault` has met: null to go on. */
  function memoryError(gpa: number, emulated: boolean): VcpuEnd | null {
    const { failure } = resolver;
    return memoryErrors.answer(failure, gpa, emulated)
      ? null
      : { reason: 'memory-error', failure, gpa, emulated };
  }

  /** An access that KVM took for a device's. Reads of what is not there give ones. */
  function mmio(): VcpuEnd | null {
    const address = page.mmioAddress;
    if (address >= bytes) {
      if (!page.mmioIsWrite) {
        page.u8.fill(0xff, kvm_run_mmio.offset.data, kvm_run_mmio.offset.data + 8);
      }
      return null;
    }
    counters[RAM_ACCESSES]! += 1;
    const unit = (address / unitBytes) | 0;
    for (;;) {
      if (control.stopping) {
        return { reason: 'stopped' };
      }
      if (states.claimMapped(unit)) {
        if (accessClaimed(unit)) {
          return null;
        }
        if (trap === null) {
          return {
            reason: 'failed',
            detail: 'the guest touched memory that its file has no longer',
          };
        }
        if (!unaddressed(changes.sequence)) {
          return { reason: 'failed', detail: describeRunError(EFAULT, true) };
        }
        continue;
      }
      timing.arrived();
      if (!fault(unit)) {
        return memoryError(address, true);
      }
    }
  }

  /**
   * Makes the access to a claimed unit, and ends the claim. False: it goes through the guest mapping,
   * and the kernel has dropped the page's entry there (shmem mapped private).
   */
  function accessClaimed(unit: number): boolean {
    try {
      return tryAccess();
    } finally {
      if (states.publish(unit, MAPPED)) {
        wake(unit, 1);
      }
    }
  }

  /** False: the page is not there, and the kernel, which does the copying, says so. */
  function tryAccess(): boolean {
    try {
      accessRam(page);
      return true;
    } catch (error) {
      if (error instanceof SyscallError && error.errno === EFAULT) {
        return false;
      }
      throw error;
    }
  }

  function count(outcome: Outcome): void {
    counters[FAULTS]! += 1;
    counters[FIRST_OUTCOME + outcome]! += 1;
  }

  let unexplained = 0;
  let unexplainedAt = 0;

  /**
   * KVM_RUN failed with EFAULT and says no more: a page without a marker was touched. False: nothing
   * explains that.
   *
   * Where nothing is amiss (any more), the kernel itself may have taken the page away and put it back
   * (a collapse through another mapping, by khugepaged): the access is made again, and is a defect
   * only if it fails time after time.
   */
  function unaddressed(sequence: number): boolean {
    if (trap === null) {
      return false;
    }
    const inGuest = performance.now() - unexplainedAt;
    const explanation = explainAbsence(memory, trap, sequence, () => control.stopping);
    if (explanation === 'unexplained') {
      unexplained = inGuest < SAME_FAULT_MILLISECONDS ? unexplained + 1 : 1;
      if (unexplained > MOST_UNEXPLAINED) {
        return false;
      }
      control.sleep(UNEXPLAINED_WAIT_MILLISECONDS);
      unexplainedAt = performance.now();
    }
    count(explanation === 'restored' ? REMAPPED : RETRIED);
    return true;
  }

  /** KVM_RUN returned 0: null to go on. */
  function exit(): VcpuEnd | null {
    switch (page.exitReason) {
      case KVM_EXIT_IO:
        counters[PORT_ACCESSES]! += 1;
        return ports.access(page);
      case KVM_EXIT_MMIO:
        return mmio();
      case KVM_EXIT_HLT:
        return { reason: 'halted' };
      case KVM_EXIT_SHUTDOWN:
        return { reason: 'shutdown' };
      default:
        return failedExit(page, trap !== null);
    }
  }

  return () => {
    for (;;) {
      if (control.stopping) {
        return { reason: 'stopped' };
      }
      page.clearExitReason();
      const sequence = changes.sequence;
      counters[KVM_RUNS]! += 1;
      counters[SYSCALLS]! += 1;
      if (enter() === 0) {
        const end = exit();
        if (end !== null) {
          ports.flush();
          return end;
        }
        continue;
      }
      const error = errno(); // first of all: whatever the engine does in between may change it
      timing.arrived();
      let unit = NO_TRAP;
      if (error === EINTR) {
        // Also where nothing is trapped: a signal left pending would end every KVM_RUN at once, and a
        // SIGBUS is then the host's memory failing.
        counters[SYSCALLS]! += 1;
        unit = takeTrap();
        if (unit === NO_TRAP) {
          continue; // a kick, or a signal that was not for this thread
        }
      } else if (
        (error === EFAULT || error === EHWPOISON) &&
        page.exitReason === KVM_EXIT_MEMORY_FAULT &&
        page.memoryFaultAddress < bytes
      ) {
        counters[MEMORY_FAULT_EXITS]! += 1;
        unit = (page.memoryFaultAddress / unitBytes) | 0;
      } else if (error === EAGAIN) {
        continue; // a vCPU of a PC that has not been started yet was woken
      } else if (
        error === EFAULT &&
        page.exitReason !== KVM_EXIT_MEMORY_FAULT &&
        unaddressed(sequence)
      ) {
        continue;
      } else {
        return { reason: 'failed', detail: describeRunError(error, trap !== null) };
      }
      if (unit === FOREIGN_TRAP) {
        const { code, address } = traps.last();
        throw new DefectError(
          `KVM_RUN was interrupted by SIGBUS code ${code} at 0x${address.toString(16)}, outside guest memory`,
        );
      }
      if (!fault(unit)) {
        const isTrap = error === EINTR;
        const gpa = isTrap ? traps.last().address - guestAddress : page.memoryFaultAddress;
        const end = memoryError(gpa, false);
        if (end !== null) {
          return end;
        }
      }
    }
  };
}
