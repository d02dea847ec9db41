import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { SyscallError } from '../../ffi/errors.js';
import { errno, mincore } from '../../ffi/libc.js';
import { ScratchPage } from '../../ffi/scratch.js';
import { PM_ENTRY_BYTES, PM_FILE, PM_PRESENT } from '../../uapi/pagemap.js';
import type { GuestMemory } from '../guest-memory.js';
import { readHugetlbPool } from '../hugetlb-pool.js';
import { PAGE_BYTES } from '../sizes.js';

/** Bytes of the system's memory that guest memory holds; null for a place that it has not. */
export interface HeldBytes {
  /** Of the file: its blocks (fstat), or its page cache (mincore) where there is no descriptor. */
  readonly file: number | null;
  /** Private pages in the guest mapping: copies of the file's, or anonymous ones (pagemap). */
  readonly own: number | null;
  /** Pages of the hugetlb pool that are in use, by whomever (sysfs). */
  readonly pool: number | null;
}

export function heldBytes({ layout, backing }: GuestMemory): HeldBytes {
  const { guestAddress, aliasAddress, bytes, fd } = layout;
  const pool = backing.hugetlb ? readHugetlbPool(backing.pageBytes) : null;
  const cached = fd < 0 && backing.alias ? cachedBytes(aliasAddress, bytes) : null;
  return {
    file: fd >= 0 ? fstatSync(fd).blocks * 512 : cached,
    own: backing.sharing === 'private' ? anonymousBytes(guestAddress, bytes) : null,
    pool: pool === null ? null : (pool.total - pool.free) * backing.pageBytes,
  };
}

/** What went from one look to the next. */
export function freedBytes(before: HeldBytes, after: HeldBytes): HeldBytes {
  const difference = (place: keyof HeldBytes): number | null =>
    before[place] === null || after[place] === null ? null : before[place] - after[place];
  return { file: difference('file'), own: difference('own'), pool: difference('pool') };
}

/** Of a shared mapping: what its file has in memory, whether it is mapped here or not. */
function cachedBytes(address: number, bytes: number): number {
  const pages = bytes / PAGE_BYTES;
  const vector = new ScratchPage(Math.ceil(pages / 4) * 4);
  if (mincore(address, bytes, vector.address) < 0) {
    throw new SyscallError('mincore', errno());
  }
  return vector.u8.filter((page) => (page & 1) !== 0).length * PAGE_BYTES;
}

// Bits of the upper half of an entry.
const PRESENT = PM_PRESENT / 2 ** 32;
const FILE = PM_FILE / 2 ** 32;

/** Of a private mapping: pages that are not the file's. Looked up, not touched. */
function anonymousBytes(address: number, bytes: number): number {
  const entries = Buffer.alloc((bytes / PAGE_BYTES) * PM_ENTRY_BYTES);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  try {
    readSync(pagemap, entries, 0, entries.length, (address / PAGE_BYTES) * PM_ENTRY_BYTES);
  } finally {
    closeSync(pagemap);
  }
  let pages = 0;
  for (let at = 4; at < entries.length; at += PM_ENTRY_BYTES) {
    const flags = entries.readUInt32LE(at);
    pages += (flags & PRESENT) !== 0 && (flags & FILE) === 0 ? 1 : 0;
  }
  return pages * PAGE_BYTES;
}
