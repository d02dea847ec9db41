import { constants } from 'node:os';
import { SIG_BLOCK, SIGBUS, SIGUSR2, sigset_t } from '../uapi/signal.js';
import { SYS_gettid, SYS_tgkill } from '../uapi/syscall.js';
import { SyscallError, UsageError } from './errors.js';
import { errno, pthread_sigmask, sched_setaffinity, syscall } from './libc.js';
import { scratch } from './scratch.js';

/** Interrupts a vCPU's KVM_RUN from outside. Blocked in every vCPU thread, so it kills nobody. */
export const KICK_SIGNAL = SIGUSR2;

/** The bits of SIGBUS and {@link KICK_SIGNAL} in a signal set's first word. */
export const VCPU_SIGNALS = (1 << (SIGBUS - 1)) | (1 << (KICK_SIGNAL - 1));

const CPU_SET_BYTES = 128;

/** The kernel's id of the calling thread. */
export function currentThreadId(): number {
  return syscall(SYS_gettid, 0, 0, 0, 0, 0);
}

/** Blocks the signals of a vCPU thread; KVM_SET_SIGNAL_MASK unblocks them inside KVM_RUN alone. */
export function blockVcpuSignals(): void {
  scratch.clear(0, sigset_t.size);
  scratch.u32[0] = VCPU_SIGNALS;
  const error = pthread_sigmask(SIG_BLOCK, scratch.address, 0);
  if (error !== 0) {
    throw new SyscallError('pthread_sigmask', error);
  }
}

/**
 * Sends {@link KICK_SIGNAL} to a thread of this process that has blocked it. A thread that has just
 * died is no error; one that ended long ago must not be named, its id could be another's.
 */
export function kickThread(threadId: number): void {
  if (syscall(SYS_tgkill, process.pid, threadId, KICK_SIGNAL, 0, 0) < 0) {
    const error = errno();
    if (error !== constants.errno.ESRCH) {
      throw new SyscallError('tgkill', error);
    }
  }
}

/** Runs the calling thread on one CPU only. */
export function pinCurrentThread(cpu: number): void {
  scratch.clear(0, CPU_SET_BYTES);
  scratch.u32[cpu >> 5] = 1 << (cpu & 31);
  if (sched_setaffinity(0, CPU_SET_BYTES, scratch.address) < 0) {
    const error = errno();
    if (error === constants.errno.EINVAL) {
      throw new UsageError(`CPU ${cpu} does not exist or may not be used`, 'Correct --pin.');
    }
    throw new SyscallError('sched_setaffinity', error);
  }
}
