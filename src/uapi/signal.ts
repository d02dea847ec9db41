/** Signals, siginfo_t and timespec, as libc has them on x86-64. */
import { array, s32, s64, struct, u8, u16, u64 } from '../ffi/layout.js';

export const SIGHUP = 1;
export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGBUS = 7;
export const SIGKILL = 9;
export const SIGUSR1 = 10;
export const SIGSEGV = 11;
export const SIGUSR2 = 12;
export const SIGALRM = 14;
export const SIGTERM = 15;
export const SIGCHLD = 17;

// How pthread_sigmask(3) changes the mask
export const SIG_BLOCK = 0;
export const SIG_UNBLOCK = 1;
export const SIG_SETMASK = 2;

// si_code of any signal
export const SI_USER = 0;
export const SI_TKILL = -6;
export const SI_KERNEL = 0x80;

// si_code of SIGBUS
export const BUS_ADRALN = 1;
export const BUS_ADRERR = 2; // also UFFD_FEATURE_SIGBUS, in user mode
export const BUS_OBJERR = 3;
export const BUS_MCEERR_AR = 4; // touched poison: action required
export const BUS_MCEERR_AO = 5; // poison found nearby: action optional

/** si_addr and si_addr_lsb are the union member of SIGBUS and SIGSEGV. */
export const siginfo_t = struct({
  si_signo: s32,
  si_errno: s32,
  si_code: s32,
  __pad0: s32,
  si_addr: u64,
  si_addr_lsb: u16, // least significant bit of si_addr that counts: 12 for 4 KiB
  _rest: array(u8, 102),
});

/** libc's, for pthread_sigmask(3). The kernel's own is the first 8 bytes. */
export const sigset_t = struct({ __val: array(u64, 16) });

export const timespec = struct({ tv_sec: s64, tv_nsec: s64 });
