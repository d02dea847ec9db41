/** System call numbers of x86-64 for what libc does not wrap; clocks and their flags. */

export const SYS_read = 0;
export const SYS_close = 3;
export const SYS_mmap = 9;
export const SYS_ioctl = 16;
export const SYS_madvise = 28;
export const SYS_getpid = 39;
export const SYS_gettid = 186;
export const SYS_tgkill = 234;
export const SYS_openat = 257;
export const SYS_fallocate = 285;
export const SYS_perf_event_open = 298;
export const SYS_memfd_create = 319;
export const SYS_userfaultfd = 323;
export const SYS_move_mount = 429; // since 5.2
export const SYS_fsopen = 430; // since 5.2
export const SYS_fsconfig = 431; // since 5.2
export const SYS_fsmount = 432; // since 5.2
export const SYS_process_madvise = 440; // since 5.10

export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
export const CLOCK_PROCESS_CPUTIME_ID = 2;
export const CLOCK_THREAD_CPUTIME_ID = 3;
export const CLOCK_MONOTONIC_RAW = 4;

// Flags of clock_nanosleep(2)
export const TIMER_ABSTIME = 1;
