import { FaultlineError } from '../../src/ffi/errors.js';
import type { Backing } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { availablePages, growCommand, readHugetlbPool } from '../../src/memory/hugetlb-pool.js';
import { formatSize } from '../../src/memory/sizes.js';

/**
 * Why guest memory of a kind cannot be had here, with what would help; null if it can. It is tried.
 *
 * @param least bytes that are needed, a multiple of the backing's pages
 * @param most bytes that a bench would like, at least `least`
 */
export function whyNoMemory(backing: Backing, least: number, most: number): string | null {
  const { hugetlb, pageBytes } = backing;
  const pool = hugetlb ? readHugetlbPool(pageBytes) : null;
  if (pool !== null && availablePages(pool) * pageBytes < least) {
    const available = availablePages(pool);
    const wanted =
      least === most
        ? `${least / pageBytes} of them`
        : `${least / pageBytes} at least and ${most / pageBytes} at most`;
    return `hugetlb pages of ${formatSize(pageBytes)} are needed, ${wanted}, and ${available} can be had. Run: ${growCommand(pageBytes, pool, most / pageBytes - available)}`;
  }
  try {
    GuestMemory.create(backing, least, pageBytes).close();
    return null;
  } catch (error) {
    if (error instanceof FaultlineError && error.code === 'unsupported') {
      return error.hint === '' ? error.message : `${error.message}. ${error.hint}`;
    }
    throw error;
  }
}
