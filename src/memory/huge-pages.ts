import { readSmaps } from './smaps.js';

/** What smaps counts of memory that PMD (for 1 GiB pages, PUD) entries map. */
const HUGE_COUNTS = [
  'AnonHugePages',
  'ShmemPmdMapped',
  'FilePmdMapped',
  'Shared_Hugetlb',
  'Private_Hugetlb',
];

/**
 * Bytes of a range that are mapped by huge page table entries, from /proc/self/smaps. The range must
 * consist of whole mappings.
 */
export function hugeMappedBytes(address: number, bytes: number): number {
  let sum = 0;
  for (const area of readSmaps()) {
    if (area.start >= address && area.start < address + bytes) {
      for (const name of HUGE_COUNTS) {
        sum += area.bytes(name);
      }
    }
  }
  return sum;
}
