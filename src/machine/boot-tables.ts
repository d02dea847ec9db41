import { buildTaskStateSegment, GDT_ENTRIES } from '../kvm/registers.js';
import { GDT_ADDRESS, PML4_ADDRESS, TSS_ADDRESS } from './guest-physical-map.js';
import type { ImageSegment } from './image.js';

const GIB = 2 ** 30;
const PAGE = 4096;

/** Present, writable, user: the levels above must allow what the leaves allow. */
const TABLE = 0x7n;
/** The same, and a 2 MiB page. */
const LARGE_PAGE = 0x87n;

/**
 * The tables 64-bit mode needs, as segments to load: a GDT, a TSS, and page tables that map guest
 * physical memory to itself in pages of 2 MiB, for CPL3 too.
 *
 * @param memoryBytes guest RAM; mapped up to the next GiB
 */
export function buildLongModeTables(memoryBytes: number): ImageSegment[] {
  const gibs = Math.ceil(memoryBytes / GIB);
  const pdpt = PML4_ADDRESS + PAGE;
  const directories = pdpt + PAGE;
  const entries = new BigUint64Array((2 + gibs) * 512);
  entries[0] = BigInt(pdpt) | TABLE;
  for (let gib = 0; gib < gibs; gib++) {
    entries[512 + gib] = BigInt(directories + gib * PAGE) | TABLE;
  }
  for (let page = 0; page < gibs * 512; page++) {
    entries[1024 + page] = (BigInt(page) << 21n) | LARGE_PAGE;
  }
  return [
    segment(GDT_ADDRESS, new Uint8Array(BigUint64Array.from(GDT_ENTRIES).buffer)),
    segment(TSS_ADDRESS, buildTaskStateSegment()),
    segment(PML4_ADDRESS, new Uint8Array(entries.buffer)),
  ];
}

function segment(address: number, data: Uint8Array): ImageSegment {
  return { address, data, bytes: data.length };
}
