/** A page of x86-64. */
export const PAGE_BYTES = 4096;
/** What one PMD entry maps. */
export const HUGE_PAGE_BYTES = 2 ** 21;
/** The largest fault unit but for hugetlb pages that are larger themselves. */
export const LARGEST_UNIT_BYTES = HUGE_PAGE_BYTES;

const UNITS = [
  ['G', 2 ** 30],
  ['M', 2 ** 20],
  ['K', 2 ** 10],
] as const;

/** `64K` for 65536: sizes as they are given to options. */
export function formatSize(bytes: number): string {
  const unit = UNITS.find(([, size]) => bytes >= size && bytes % size === 0);
  return unit === undefined ? String(bytes) : `${bytes / unit[1]}${unit[0]}`;
}
