import type { UffdShares } from '../../src/memory/uffd-shares.js';

/** One userfaultfd for all memory, however large. */
export function oneShare(fd: number): UffdShares {
  return { fds: [fd], bytes: Number.POSITIVE_INFINITY };
}
