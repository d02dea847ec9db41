import { closeSync, openSync, readSync } from 'node:fs';
import { PM_ENTRY_BYTES, PM_PRESENT, PM_SWAP, PM_UFFD_WP } from '../uapi/pagemap.js';

const PAGE = 4096;
const HAS_ENTRY = BigInt(PM_PRESENT) | BigInt(PM_SWAP);

/**
 * What page table entries there are in a range (/proc/self/pagemap, Linux 5.13). A write to a page of
 * it sleeps where it is `absent` (some page has no entry: one that is swapped out or under migration
 * has) or `protected` (a userfaultfd write-protects some page).
 */
export function lookAtEntries(address: number, bytes: number): 'there' | 'absent' | 'protected' {
  const entries = new BigUint64Array(bytes / PAGE);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  try {
    readSync(pagemap, entries, 0, entries.byteLength, (address / PAGE) * PM_ENTRY_BYTES);
  } finally {
    closeSync(pagemap);
  }
  if (entries.some((entry) => (entry & BigInt(PM_UFFD_WP)) !== 0n)) {
    return 'protected';
  }
  return entries.every((entry) => (entry & HAS_ENTRY) !== 0n) ? 'there' : 'absent';
}
