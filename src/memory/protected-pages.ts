import { closeSync, openSync, readSync } from 'node:fs';
import { PM_UFFD_WP } from '../uapi/pagemap.js';

const ENTRY_BYTES = 8;
const PAGE = 4096;

/**
 * Whether a userfaultfd write-protects any page of a range (/proc/self/pagemap, Linux 5.13): writing
 * to one would sleep until somebody lifts that.
 */
export function isWriteProtected(address: number, bytes: number): boolean {
  const entries = new BigUint64Array(bytes / PAGE);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  try {
    readSync(pagemap, entries, 0, entries.byteLength, (address / PAGE) * ENTRY_BYTES);
  } finally {
    closeSync(pagemap);
  }
  return entries.some((entry) => (entry & BigInt(PM_UFFD_WP)) !== 0n);
}
