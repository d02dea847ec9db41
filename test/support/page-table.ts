/** What page table entries hold: looked up in /proc/self/pagemap, not touched. */
import { closeSync, openSync, readSync } from 'node:fs';
import { PM_PRESENT, PM_SWAP, PM_UFFD_WP } from '../../src/uapi/pagemap.js';

const PAGE = 4096;

/** Entries of a range of memory, counted. */
export interface Census {
  readonly present: number;
  /** Of the present, those that are write-protected by userfaultfd. */
  readonly presentProtected: number;
  /** Trap markers (a swap entry looks the same; there is none without swap). */
  readonly markers: number;
  /** Write-protect markers: no page, but a protected one when it comes back. */
  readonly protectMarkers: number;
  readonly none: number;
}

export function censusOf(address: number, bytes: number): Census {
  const entries = Buffer.alloc((bytes / PAGE) * 8);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  try {
    readSync(pagemap, entries, 0, entries.length, (address / PAGE) * 8);
  } finally {
    closeSync(pagemap);
  }
  const census = { present: 0, presentProtected: 0, markers: 0, protectMarkers: 0, none: 0 };
  for (let at = 0; at < entries.length; at += 8) {
    const entry = entries.readBigUInt64LE(at);
    const has = (bit: number): boolean => (entry & BigInt(bit)) !== 0n;
    if (has(PM_PRESENT)) {
      census.present++;
      census.presentProtected += has(PM_UFFD_WP) ? 1 : 0;
    } else if (has(PM_SWAP)) {
      census[has(PM_UFFD_WP) ? 'protectMarkers' : 'markers']++;
    } else {
      census.none++;
    }
  }
  return census;
}
