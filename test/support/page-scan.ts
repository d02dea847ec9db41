/** What the kernel says of one page of ours, by PAGEMAP_SCAN and mincore: looked up, not touched. */
import { closeSync, openSync } from 'node:fs';
import { SyscallError } from '../../src/ffi/errors.js';
import { errno, ioctl, mincore } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import {
  PAGE_IS_FILE,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WRITTEN,
  PAGEMAP_SCAN,
  page_region,
  pm_scan_arg,
} from '../../src/uapi/pagemap.js';
import { uffdSkip } from './host.js';

const PAGE = 4096;
const CATEGORIES = {
  FILE: PAGE_IS_FILE,
  PRESENT: PAGE_IS_PRESENT,
  SWAPPED: PAGE_IS_SWAPPED,
  WRITTEN: PAGE_IS_WRITTEN,
} as const;
const ALL = PAGE_IS_FILE | PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_WRITTEN;

/**
 * The categories of a page's entry, for instance `PRESENT WRITTEN`; empty if there is none. SWAPPED
 * are trap markers and migration entries too. What userfaultfd write-protects is not WRITTEN.
 */
export function scan(address: number): string {
  using range = new PageScan(address, 1);
  const { categories } = range.first(PAGE_IS_PRESENT | PAGE_IS_SWAPPED);
  return Object.entries(CATEGORIES)
    .filter(([, category]) => (categories & category) !== 0)
    .map(([name]) => name)
    .join(' ');
}

/** PAGEMAP_SCAN of a range, prepared so that it can be made in a loop. */
export class PageScan {
  private readonly argument = new ScratchPage(pm_scan_arg.size + page_region.size);
  private readonly pagemap = openSync('/proc/self/pagemap', 'r');

  constructor(
    private readonly address: number,
    pages: number,
  ) {
    const { offset, size } = pm_scan_arg;
    this.argument.setU64(offset.size, size);
    this.argument.setU64(offset.start, address);
    this.argument.setU64(offset.end, address + pages * PAGE);
    this.argument.setU64(offset.vec, this.argument.address + size);
    this.argument.setU64(offset.vec_len, 1);
    this.argument.setU64(offset.return_mask, ALL);
  }

  /** The first page that is in any of these categories, and in which it is; -1 if there is none. */
  first(categories: number): { readonly page: number; readonly categories: number } {
    this.argument.setU64(pm_scan_arg.offset.category_anyof_mask, categories);
    const found = ioctl(this.pagemap, PAGEMAP_SCAN, this.argument.address);
    if (found < 0) {
      throw new SyscallError('PAGEMAP_SCAN', errno());
    }
    const region = pm_scan_arg.size;
    const { offset } = page_region;
    return found === 0
      ? { page: -1, categories: 0 }
      : {
          page: (this.argument.getU64(region + offset.start) - this.address) / PAGE,
          categories: this.argument.getU64(region + offset.categories),
        };
  }

  close(): void {
    closeSync(this.pagemap);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Whether the page that belongs here is in memory, mapped or not (mincore). */
export function inMemory(address: number): boolean {
  const vector = new ScratchPage(8);
  if (mincore(address, PAGE, vector.address) < 0) {
    throw new SyscallError('mincore', errno());
  }
  return (vector.u8[0]! & 1) === 1;
}

/** Why this kernel has no PAGEMAP_SCAN (6.7), or no userfaultfd with these features; or false. */
export function scanSkip(features = 0): string | false {
  try {
    scan(PAGE); // where nothing is
  } catch (error) {
    return `needs PAGEMAP_SCAN: ${(error as Error).message}`;
  }
  return uffdSkip(features);
}
