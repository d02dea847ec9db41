import { readFileSync } from 'node:fs';

/** What smaps counts of memory that PMD (for 1 GiB pages, PUD) entries map. */
const HUGE_FIELDS = /^(AnonHugePages|ShmemPmdMapped|FilePmdMapped|Shared_Hugetlb|Private_Hugetlb)$/;

/**
 * Bytes of a range that are mapped by huge page table entries, from /proc/self/smaps: milliseconds
 * for large memory. The range must consist of whole mappings.
 */
export function hugeMappedBytes(address: number, bytes: number): number {
  let inside = false;
  let kilobytes = 0;
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const area = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (area !== null) {
      const start = Number.parseInt(area[1]!, 16);
      inside = start >= address && start < address + bytes;
    } else if (inside) {
      const [, name, value] = /^(\w+):\s+(\d+) kB$/.exec(line) ?? [];
      if (name !== undefined && HUGE_FIELDS.test(name)) {
        kilobytes += Number(value);
      }
    }
  }
  return kilobytes * 1024;
}
