/** include/uapi/linux/userfaultfd.h. RWP is not in a release before 7.3. */
import { s64, struct, u8, u16, u32, u64, union } from '../ffi/layout.js';

export const UFFD_API = 0xaa;

/** Flag of userfaultfd(2): faults taken in the kernel, KVM's among them, fail. Since 5.11. */
export const UFFD_USER_MODE_ONLY = 0x1;
/** _IO(USERFAULTFD_IOC, 0x00), on /dev/userfaultfd; the argument is the flags. Since 6.1. */
export const USERFAULTFD_IOC_NEW = 0xaa00;

export const UFFDIO_API = 0xc018aa3f; // _IOWR(UFFDIO, 0x3f, struct uffdio_api)
export const UFFDIO_REGISTER = 0xc020aa00; // _IOWR(UFFDIO, 0x00, struct uffdio_register)
export const UFFDIO_UNREGISTER = 0x8010aa01; // _IOR(UFFDIO, 0x01, struct uffdio_range)
export const UFFDIO_WAKE = 0x8010aa02; // _IOR(UFFDIO, 0x02, struct uffdio_range)
export const UFFDIO_COPY = 0xc028aa03; // _IOWR(UFFDIO, 0x03, struct uffdio_copy)
export const UFFDIO_ZEROPAGE = 0xc020aa04; // _IOWR(UFFDIO, 0x04, struct uffdio_zeropage)
export const UFFDIO_MOVE = 0xc028aa05; // _IOWR(UFFDIO, 0x05, struct uffdio_move), since 6.8
/** _IOWR(UFFDIO, 0x06, struct uffdio_writeprotect), since 5.7 */
export const UFFDIO_WRITEPROTECT = 0xc018aa06;
export const UFFDIO_CONTINUE = 0xc020aa07; // _IOWR(UFFDIO, 0x07, struct uffdio_continue), since 5.13
export const UFFDIO_POISON = 0xc020aa08; // _IOWR(UFFDIO, 0x08, struct uffdio_poison), since 6.6
export const UFFDIO_RWPROTECT = 0xc018aa09; // _IOWR(UFFDIO, 0x09, struct uffdio_rwprotect), since 7.3
export const UFFDIO_SET_MODE = 0x4010aa0a; // _IOW(UFFDIO, 0x0a, struct uffdio_set_mode), since 7.3

// Bit numbers in uffdio_api.ioctls and uffdio_register.ioctls
export const _UFFDIO_REGISTER = 0x00;
export const _UFFDIO_UNREGISTER = 0x01;
export const _UFFDIO_WAKE = 0x02;
export const _UFFDIO_COPY = 0x03;
export const _UFFDIO_ZEROPAGE = 0x04;
export const _UFFDIO_MOVE = 0x05;
export const _UFFDIO_WRITEPROTECT = 0x06;
export const _UFFDIO_CONTINUE = 0x07;
export const _UFFDIO_POISON = 0x08;
export const _UFFDIO_RWPROTECT = 0x09;
export const _UFFDIO_SET_MODE = 0x0a;
export const _UFFDIO_API = 0x3f;

// uffdio_api.features
export const UFFD_FEATURE_PAGEFAULT_FLAG_WP = 0x1; // 1 << 0, since 5.7
export const UFFD_FEATURE_EVENT_FORK = 0x2; // 1 << 1
export const UFFD_FEATURE_EVENT_REMAP = 0x4; // 1 << 2
export const UFFD_FEATURE_EVENT_REMOVE = 0x8; // 1 << 3
export const UFFD_FEATURE_MISSING_HUGETLBFS = 0x10; // 1 << 4
export const UFFD_FEATURE_MISSING_SHMEM = 0x20; // 1 << 5
export const UFFD_FEATURE_EVENT_UNMAP = 0x40; // 1 << 6
export const UFFD_FEATURE_SIGBUS = 0x80; // 1 << 7
export const UFFD_FEATURE_THREAD_ID = 0x100; // 1 << 8
export const UFFD_FEATURE_MINOR_HUGETLBFS = 0x200; // 1 << 9, since 5.13
export const UFFD_FEATURE_MINOR_SHMEM = 0x400; // 1 << 10, since 5.14
export const UFFD_FEATURE_EXACT_ADDRESS = 0x800; // 1 << 11, since 5.18
export const UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 0x1000; // 1 << 12, since 5.19
export const UFFD_FEATURE_WP_UNPOPULATED = 0x2000; // 1 << 13, since 6.4
export const UFFD_FEATURE_POISON = 0x4000; // 1 << 14, since 6.6
export const UFFD_FEATURE_WP_ASYNC = 0x8000; // 1 << 15, since 6.7
export const UFFD_FEATURE_MOVE = 0x10000; // 1 << 16, since 6.8
export const UFFD_FEATURE_RWP = 0x20000; // 1 << 17, since 7.3
export const UFFD_FEATURE_RWP_ASYNC = 0x40000; // 1 << 18, since 7.3

// uffdio_register.mode
export const UFFDIO_REGISTER_MODE_MISSING = 0x1; // (__u64)1 << 0
export const UFFDIO_REGISTER_MODE_WP = 0x2; // (__u64)1 << 1
export const UFFDIO_REGISTER_MODE_MINOR = 0x4; // (__u64)1 << 2, since 5.13
export const UFFDIO_REGISTER_MODE_RWP = 0x8; // (__u64)1 << 3, since 7.3

// mode of the resolving ioctls. Beware: WRITEPROTECT and RWPROTECT have the two bits swapped.
export const UFFDIO_COPY_MODE_DONTWAKE = 0x1; // (__u64)1 << 0
export const UFFDIO_COPY_MODE_WP = 0x2; // (__u64)1 << 1, since 5.7
export const UFFDIO_ZEROPAGE_MODE_DONTWAKE = 0x1; // (__u64)1 << 0
export const UFFDIO_CONTINUE_MODE_DONTWAKE = 0x1; // (__u64)1 << 0, since 5.13
export const UFFDIO_CONTINUE_MODE_WP = 0x2; // (__u64)1 << 1, since 6.4 (mem)
export const UFFDIO_POISON_MODE_DONTWAKE = 0x1; // (__u64)1 << 0, since 6.6
export const UFFDIO_MOVE_MODE_DONTWAKE = 0x1; // (__u64)1 << 0, since 6.8
export const UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES = 0x2; // (__u64)1 << 1, since 6.8
export const UFFDIO_WRITEPROTECT_MODE_WP = 0x1; // (__u64)1 << 0, since 5.7
export const UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 0x2; // (__u64)1 << 1, since 5.7
export const UFFDIO_RWPROTECT_MODE_RWP = 0x1; // (__u64)1 << 0, since 7.3
export const UFFDIO_RWPROTECT_MODE_DONTWAKE = 0x2; // (__u64)1 << 1, since 7.3

// uffd_msg.event
export const UFFD_EVENT_PAGEFAULT = 0x12;
export const UFFD_EVENT_FORK = 0x13;
export const UFFD_EVENT_REMAP = 0x14;
export const UFFD_EVENT_REMOVE = 0x15;
export const UFFD_EVENT_UNMAP = 0x16;

// uffd_msg.arg.pagefault.flags
export const UFFD_PAGEFAULT_FLAG_WRITE = 0x1; // 1 << 0
export const UFFD_PAGEFAULT_FLAG_WP = 0x2; // 1 << 1, since 5.7
export const UFFD_PAGEFAULT_FLAG_MINOR = 0x4; // 1 << 2, since 5.13
export const UFFD_PAGEFAULT_FLAG_RWP = 0x8; // 1 << 3, since 7.3

export const uffdio_api = struct({ api: u64, features: u64, ioctls: u64 });

export const uffdio_range = struct({ start: u64, len: u64 });

export const uffdio_register = struct({ range: uffdio_range, mode: u64, ioctls: u64 });

/** `copy` is written by the kernel: bytes done, or a negative errno. */
export const uffdio_copy = struct({ dst: u64, src: u64, len: u64, mode: u64, copy: s64 });

/** `zeropage` is written by the kernel: bytes done, or a negative errno. */
export const uffdio_zeropage = struct({ range: uffdio_range, mode: u64, zeropage: s64 });

/** Since 5.7. */
export const uffdio_writeprotect = struct({ range: uffdio_range, mode: u64 });

/** Since 5.13. `mapped` is written by the kernel: bytes done, or a negative errno. */
export const uffdio_continue = struct({ range: uffdio_range, mode: u64, mapped: s64 });

/** Since 6.6. `updated` is written by the kernel: bytes done, or a negative errno. */
export const uffdio_poison = struct({ range: uffdio_range, mode: u64, updated: s64 });

/** Since 6.8. `move` is written by the kernel: bytes done, or a negative errno. */
export const uffdio_move = struct({ dst: u64, src: u64, len: u64, mode: u64, move: s64 });

/** Since 7.3. */
export const uffdio_rwprotect = struct({ range: uffdio_range, mode: u64 });

/** Since 7.3. Feature bits to switch on and off; RWP_ASYNC only. */
export const uffdio_set_mode = struct({ enable: u64, disable: u64 });

const header = struct({ event: u8, reserved1: u8, reserved2: u16, reserved3: u32 });
const pagefault = struct({ flags: u64, address: u64, feat: struct({ ptid: u32 }) });
const remap = struct({ from: u64, to: u64, len: u64 });

/** What read(2) returns, one or more at a time. */
export const uffd_msg = struct({
  event: u8,
  reserved1: u8,
  reserved2: u16,
  reserved3: u32,
  arg: union(pagefault, remap),
});

// Members of uffd_msg.arg, with offsets from the start of struct uffd_msg
/** UFFD_EVENT_PAGEFAULT. `ptid` needs UFFD_FEATURE_THREAD_ID. */
export const uffd_msg_pagefault = struct({ header, flags: u64, address: u64, ptid: u32 });
/** UFFD_EVENT_FORK */
export const uffd_msg_fork = struct({ header, ufd: u32 });
/** UFFD_EVENT_REMAP */
export const uffd_msg_remap = struct({ header, from: u64, to: u64, len: u64 });
/** UFFD_EVENT_REMOVE and UFFD_EVENT_UNMAP */
export const uffd_msg_remove = struct({ header, start: u64, end: u64 });
