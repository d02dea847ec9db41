import { sigtimedwait } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { VCPU_SIGNALS } from '../ffi/thread.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { SIGBUS, siginfo_t, sigset_t } from '../uapi/signal.js';

/** No signal was pending, or a kick. */
export const NO_TRAP = -1;
/** A SIGBUS whose address is not in guest memory. */
export const FOREIGN_TRAP = -2;

const SIGNO = siginfo_t.offset.si_signo >> 2;
const ADDRESS = siginfo_t.offset.si_addr >> 2;

/** Takes the signals that trap markers cause. */
export interface TrapReader {
  /**
   * Takes one pending signal, without sleeping: the number of the fault unit it is about,
   * {@link NO_TRAP} or {@link FOREIGN_TRAP}. One system call.
   */
  readonly take: () => number;
  /** The `si_code` and address of the last SIGBUS, for reports. */
  readonly last: () => { readonly code: number; readonly address: number };
}

/**
 * Exits by trap marker: a vCPU that touches a page marked by UFFDIO_POISON makes KVM send its
 * thread a SIGBUS with the host address. The signal is blocked in the thread, so it interrupts
 * KVM_RUN (EINTR) and waits here to be taken. Linux 6.6 on.
 */
export function createTrapReader(memory: GuestMemoryLayout): TrapReader {
  const page = new ScratchPage();
  const { u32, s32 } = page;
  const { guestAddress, bytes, unitBytes } = memory;
  const set = page.address;
  const siginfo = page.address + sigset_t.size;
  const timeout = siginfo + siginfo_t.size; // stays zero: do not sleep
  const info = sigset_t.size >> 2;
  u32[0] = VCPU_SIGNALS;

  return {
    take: () => {
      if (sigtimedwait(set, siginfo, timeout) < 0 || s32[info + SIGNO] !== SIGBUS) {
        return NO_TRAP;
      }
      const offset = u32[info + ADDRESS]! + u32[info + ADDRESS + 1]! * 0x1_0000_0000 - guestAddress;
      return offset >= 0 && offset < bytes ? (offset / unitBytes) | 0 : FOREIGN_TRAP;
    },
    last: () => ({
      code: s32[info + (siginfo_t.offset.si_code >> 2)]!,
      address: page.getU64(sigset_t.size + siginfo_t.offset.si_addr),
    }),
  };
}
