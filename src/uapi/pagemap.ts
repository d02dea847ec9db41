/**
 * /proc/pid/pagemap: the bits of an entry (Documentation/admin-guide/mm/pagemap.rst, named as in
 * fs/proc/task_mmu.c) and PAGEMAP_SCAN (include/uapi/linux/fs.h, since 6.7).
 */
import { struct, u64 } from '../ffi/layout.js';

// An entry is 64 bits. These are exact as Numbers, but test them in the upper half or as BigInt:
// the bitwise operators of JavaScript see 32 bits.
export const PM_ENTRY_BYTES = 8;
export const PM_PFRAME_BITS = 55; // bits 0 to 54: PFN, or swap type and offset; 0 without privilege
export const PM_SOFT_DIRTY = 2 ** 55;
export const PM_MMAP_EXCLUSIVE = 2 ** 56;
export const PM_UFFD_WP = 2 ** 57; // since 5.13
export const PM_GUARD_REGION = 2 ** 58; // since 6.15
export const PM_FILE = 2 ** 61; // file page or shared anonymous
export const PM_SWAP = 2 ** 62; // also set for markers: UFFDIO_POISON, guard regions
export const PM_PRESENT = 2 ** 63;

export const PAGEMAP_SCAN = 0xc0606610; // _IOWR('f', 16, struct pm_scan_arg), since 6.7

// Categories
export const PAGE_IS_WPALLOWED = 0x1; // 1 << 0, since 6.7
export const PAGE_IS_WRITTEN = 0x2; // 1 << 1, since 6.7
export const PAGE_IS_FILE = 0x4; // 1 << 2, since 6.7
export const PAGE_IS_PRESENT = 0x8; // 1 << 3, since 6.7
export const PAGE_IS_SWAPPED = 0x10; // 1 << 4, since 6.7
export const PAGE_IS_PFNZERO = 0x20; // 1 << 5, since 6.7
export const PAGE_IS_HUGE = 0x40; // 1 << 6, since 6.7
export const PAGE_IS_SOFT_DIRTY = 0x80; // 1 << 7, since 6.7
export const PAGE_IS_GUARD = 0x100; // 1 << 8, since 6.15
export const PAGE_IS_ACCESSED = 0x200; // 1 << 9, since 7.3

// pm_scan_arg.flags
export const PM_SCAN_WP_MATCHING = 0x1; // 1 << 0, since 6.7
export const PM_SCAN_CHECK_WPASYNC = 0x2; // 1 << 1, since 6.7

/** Since 6.7. `end` is exclusive. */
export const page_region = struct({ start: u64, end: u64, categories: u64 });

/** Since 6.7. `walk_end` is written by the kernel: where the scan stopped. */
export const pm_scan_arg = struct({
  size: u64,
  flags: u64,
  start: u64,
  end: u64,
  walk_end: u64,
  vec: u64,
  vec_len: u64,
  max_pages: u64,
  category_inverted: u64,
  category_mask: u64,
  category_anyof_mask: u64,
  return_mask: u64,
});
