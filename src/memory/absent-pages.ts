import { constants } from 'node:os';
import { Descriptor } from '../ffi/descriptor.js';
import { SyscallError } from '../ffi/errors.js';
import { errno, ioctl, open } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { O_CLOEXEC, O_RDONLY } from '../uapi/fcntl.js';
import {
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WRITTEN,
  PAGEMAP_SCAN,
  page_region,
  pm_scan_arg,
} from '../uapi/pagemap.js';

/** Regions taken from the kernel at a time. */
const REGIONS = 128;

/**
 * Calls back for every part of a range whose page table entries hold no page: empty, or a
 * write-protect marker, which says only how the page was mapped; a trap marker, a migration or a swap
 * entry is passed over. It is looked up, not touched. Before Linux 6.7, which has no PAGEMAP_SCAN,
 * that is the whole range.
 *
 * @param visit receives address and length in bytes, and whether it is to be write-protected again
 */
export function eachAbsentRange(
  address: number,
  bytes: number,
  visit: (address: number, bytes: number, isProtected: boolean) => void,
): void {
  const fd = open('/proc/self/pagemap', O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) {
    throw new SyscallError('open of /proc/self/pagemap', errno(), 'Raise the limit of open files.');
  }
  using pagemap = new Descriptor(fd);
  const page = new ScratchPage(pm_scan_arg.size + REGIONS * page_region.size);
  const { offset } = pm_scan_arg;
  const regions = pm_scan_arg.size;
  const end = address + bytes;
  for (let at = address; at < end; ) {
    page.clear(0, pm_scan_arg.size);
    page.setU64(offset.size, pm_scan_arg.size);
    page.setU64(offset.start, at);
    page.setU64(offset.end, end);
    page.setU64(offset.vec, page.address + regions);
    page.setU64(offset.vec_len, REGIONS);
    // Not present, and of the rest what is no swap entry or, protected, does not count as written.
    page.setU64(offset.category_inverted, PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_WRITTEN);
    page.setU64(offset.category_mask, PAGE_IS_PRESENT);
    page.setU64(offset.category_anyof_mask, PAGE_IS_SWAPPED | PAGE_IS_WRITTEN);
    page.setU64(offset.return_mask, PAGE_IS_SWAPPED);
    const found = ioctl(pagemap.fd, PAGEMAP_SCAN, page.address);
    if (found < 0) {
      const error = errno();
      if (error === constants.errno.ENOTTY) {
        visit(address, bytes, false);
        return;
      }
      throw new SyscallError('PAGEMAP_SCAN', error);
    }
    for (let region = 0; region < found; region++) {
      const base = regions + region * page_region.size;
      const start = page.getU64(base + page_region.offset.start);
      const categories = page.getU64(base + page_region.offset.categories);
      const isProtected = (categories & PAGE_IS_SWAPPED) !== 0;
      visit(start, page.getU64(base + page_region.offset.end) - start, isProtected);
    }
    at = page.getU64(offset.walk_end);
  }
}
