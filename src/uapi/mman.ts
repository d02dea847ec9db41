/** mmap(2), madvise(2), memfd_create(2), fallocate(2): linux/mman.h, linux/memfd.h, linux/falloc.h. */

export const PROT_NONE = 0x0;
export const PROT_READ = 0x1;
export const PROT_WRITE = 0x2;
export const PROT_EXEC = 0x4;

export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_SHARED_VALIDATE = 0x03;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_LOCKED = 0x2000;
export const MAP_NORESERVE = 0x4000;
export const MAP_POPULATE = 0x8000;
export const MAP_HUGETLB = 0x40000;
export const MAP_FIXED_NOREPLACE = 0x100000; // since 4.17; older kernels take it as a hint
export const MAP_HUGE_SHIFT = 26;
export const MAP_HUGE_2MB = 0x54000000; // 21 << MAP_HUGE_SHIFT
export const MAP_HUGE_1GB = 0x78000000; // 30 << MAP_HUGE_SHIFT

/** Flag of mlock2(2): lock pages as they are faulted in, instead of faulting all in. Since 4.4. */
export const MLOCK_ONFAULT = 0x1;

export const MREMAP_MAYMOVE = 1;
export const MREMAP_FIXED = 2;
export const MREMAP_DONTUNMAP = 4; // since 5.7

export const MADV_NORMAL = 0;
export const MADV_RANDOM = 1;
export const MADV_SEQUENTIAL = 2;
export const MADV_WILLNEED = 3;
export const MADV_DONTNEED = 4;
export const MADV_FREE = 8;
export const MADV_REMOVE = 9;
export const MADV_DONTFORK = 10;
export const MADV_MERGEABLE = 12;
export const MADV_UNMERGEABLE = 13;
export const MADV_HUGEPAGE = 14;
export const MADV_NOHUGEPAGE = 15;
export const MADV_DONTDUMP = 16;
export const MADV_COLD = 20; // since 5.4
export const MADV_PAGEOUT = 21; // since 5.4
export const MADV_POPULATE_READ = 22; // since 5.14
export const MADV_POPULATE_WRITE = 23; // since 5.14
export const MADV_DONTNEED_LOCKED = 24; // since 5.18
export const MADV_COLLAPSE = 25; // since 6.1
export const MADV_HWPOISON = 100; // needs CONFIG_MEMORY_FAILURE and CAP_SYS_ADMIN
export const MADV_SOFT_OFFLINE = 101;
export const MADV_GUARD_INSTALL = 102; // since 6.13
export const MADV_GUARD_REMOVE = 103; // since 6.13

export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;
export const MFD_HUGETLB = 0x4;
export const MFD_NOEXEC_SEAL = 0x8; // since 6.3
export const MFD_EXEC = 0x10; // since 6.3
export const MFD_HUGE_SHIFT = 26;
export const MFD_HUGE_2MB = 0x54000000; // 21 << MFD_HUGE_SHIFT
export const MFD_HUGE_1GB = 0x78000000; // 30 << MFD_HUGE_SHIFT

export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02; // only together with KEEP_SIZE
export const FALLOC_FL_ZERO_RANGE = 0x10;
