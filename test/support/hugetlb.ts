/** Hugetlb pages for a test, from a pool that is afterwards as it was before. */
import type { Test } from 'tap';
import { readHugetlbPool } from '../../src/memory/hugetlb-pool.js';
import { formatSize } from '../../src/memory/sizes.js';
import { growHugetlbPool } from './host-knobs.js';

/**
 * Makes sure that `pages` pages are free and unreserved in the pool of this size until the test ends,
 * well or not.
 *
 * @returns false when the host cannot give them: the test is then skipped, with the reason
 */
export function withHugetlbPages(t: Test, pageBytes: number, pages: number): boolean {
  const wanted = `${pages} hugetlb pages of ${formatSize(pageBytes)}`;
  if (readHugetlbPool(pageBytes) === null) {
    t.plan(0, `needs ${wanted}, which this kernel or CPU does not have`);
    return false;
  }
  try {
    t.teardown(growHugetlbPool(pageBytes, pages));
    return true;
  } catch (error) {
    t.plan(0, `needs ${wanted}: ${(error as Error).message}`);
    return false;
  }
}
