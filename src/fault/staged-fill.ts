import { errno, process_vm_writev } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { SYSCALLS } from '../measure/counters.js';
import { iovec } from '../uapi/uio.js';
import type { Installer, InstallerOptions } from './installer.js';

/** Of a run that is larger, parts are filled one after the other. */
const MOST_STAGED_BYTES = 64 * 2 ** 20;

/**
 * Fills pages of a file that other processes can cut short at any time: a store to the alias mapping
 * could then be SIGBUS, even right after the page was populated. The contents are made in a buffer
 * and copied by the kernel (process_vm_writev), which allocates the pages as MADV_POPULATE_WRITE
 * does, costs as much (5.4 µs with a page's contents, of which 0.5 µs are those), and fails with
 * EFAULT. A write(2) would take 3.4 µs, and give the file its length back: what was cut off would be
 * zeroes.
 *
 * @param failure of the installer that this is the `fill` of
 */
export function createStagedFill(
  options: InstallerOptions,
  failure: Installer['failure'],
): Installer['fill'] {
  const { source, mostUnits, counters, timing } = options;
  const { aliasAddress, unitBytes } = options.memory;
  const staging = new ScratchPage(Math.min(mostUnits * unitBytes, MOST_STAGED_BYTES));
  const stagingAddress = staging.address;
  const stagedPages = staging.bytes / 4096;
  const pagesPerUnit = unitBytes / 4096;
  const words = staging.s32;
  const { pid } = process;
  const page = new ScratchPage(2 * iovec.size);
  const { u32 } = page;
  const from = page.address;
  const to = page.address + iovec.size;
  const FROM_BASE = iovec.offset.iov_base >> 2;
  const FROM_LENGTH = iovec.offset.iov_len >> 2;
  const TO_BASE = (iovec.size + iovec.offset.iov_base) >> 2;
  const TO_LENGTH = (iovec.size + iovec.offset.iov_len) >> 2;

  /** Copies the buffer's first pages to those from `page` on. Returns an errno, or 0. */
  function copy(page: number, pages: number): number {
    const length = pages * 4096;
    for (let done = 0; done < length; ) {
      u32[FROM_BASE] = stagingAddress + done; // a store takes a double modulo 2^32
      u32[FROM_BASE + 1] = (stagingAddress + done) / 0x1_0000_0000;
      u32[FROM_LENGTH] = length - done;
      u32[TO_BASE] = aliasAddress + page * 4096 + done;
      u32[TO_BASE + 1] = (aliasAddress + page * 4096 + done) / 0x1_0000_0000;
      u32[TO_LENGTH] = length - done;
      counters[SYSCALLS]! += 1;
      const copied = process_vm_writev(pid, from, 1, to, 1, 0);
      if (copied <= 0) {
        return errno();
      }
      done += copied; // short where a page in the middle cannot be had
    }
    return 0;
  }

  function fail(cause: 'source' | 'allocate', error: number): false {
    failure.cause = cause;
    failure.errno = error;
    failure.mappedBytes = 0;
    return false;
  }

  return (first, count) => {
    const end = (first + count) * pagesPerUnit;
    for (let at = first * pagesPerUnit; at < end; at += stagedPages) {
      const pages = Math.min(stagedPages, end - at);
      if (!source.fill(at, words, 0, pages * 1024)) {
        return fail('source', 0);
      }
      timing.beforeAllocate();
      const error = copy(at, pages);
      timing.afterAllocate();
      if (error !== 0) {
        return fail('allocate', error);
      }
    }
    return true;
  };
}
