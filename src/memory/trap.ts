import { DefectError, SyscallError } from '../ffi/errors.js';
import { errno, madvise } from '../ffi/libc.js';
import { ResourceStack } from '../ffi/resource-stack.js';
import { MADV_NOHUGEPAGE } from '../uapi/mman.js';
import {
  UFFD_FEATURE_PAGEFAULT_FLAG_WP,
  UFFD_FEATURE_POISON,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
  UFFDIO_REGISTER_MODE_WP,
} from '../uapi/userfaultfd.js';
import { Userfaultfd } from '../uffd/userfaultfd.js';
import type { BackingTraits } from './backing.js';
import type { GuestMemory, GuestMemoryLayout } from './guest-memory.js';
import { HUGE_PAGE_BYTES } from './sizes.js';
import { SharedUffdCalls, type UffdShares } from './uffd-shares.js';

/** How the guest mapping traps touches of missing pages. Plain data: workers receive it. */
export interface Trap {
  readonly uffds: UffdShares;
  /** UFFDIO_REGISTER_MODE_* bits that it is registered with. */
  readonly modes: number;
  /** A vCPU that touches a missing page leaves the guest: by a marker, or by its memslot's flag. */
  readonly exits: boolean;
  /** Every missing page has a trap marker, and one that lost it is EFAULT. */
  readonly marked: boolean;
  /** Whether there is UFFDIO_POISON (6.6): else a page that fails can only end the run. */
  readonly poisons: boolean;
}

/** At least one, in the order of their shares. */
export type Userfaultfds = readonly [Userfaultfd, ...Userfaultfd[]];

/** UFFD_FEATURE_* bits that trap markers need. SIGBUS makes them fail closed: a page that lost its
 * marker is EFAULT, not a zero page and not a hang. */
export function markerFeatures(backing: BackingTraits): number {
  return backing.uffdFeatures | UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS;
}

/**
 * Registers guest memory, of which nothing is mapped yet, so that every touch traps.
 *
 * Memory of 4 KiB pages is registered for write-protection too, where the kernel has that (5.19):
 * only of such ranges does it promise not to take the page table away (khugepaged and
 * MADV_COLLAPSE drop trap markers of others, through any mapping of the file; measured on 6.18).
 *
 * @param marked with a trap marker in every page (Linux 6.6)
 * @param shares over how many userfaultfds it is split; fewer where a share would be below 2 MiB
 * @param exits whether vCPUs leave the guest on missing pages; with markers they do
 * @throws UnsupportedError when this kernel's userfaultfd cannot
 */
export function trapMissing(
  memory: GuestMemory,
  marked: boolean,
  shares = 1,
  exits = marked,
): { readonly uffds: Userfaultfds; readonly trap: Trap } {
  const { guestAddress, bytes, unitBytes, backing } = memory.layout;
  const offered = Userfaultfd.offered();
  const poisons = (offered & UFFD_FEATURE_POISON) !== 0;
  let features = marked ? markerFeatures(backing) : backing.uffdFeatures;
  features |= offered & UFFD_FEATURE_POISON;
  let modes = backing.uffdModes;
  const protects = UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
  if (!backing.hugetlb && (offered & protects) === protects) {
    features |= protects;
    modes |= UFFDIO_REGISTER_MODE_WP;
  }
  const alignment = Math.max(HUGE_PAGE_BYTES, unitBytes);
  const shareBytes = Math.ceil(bytes / shares / alignment) * alignment;
  using stack = new ResourceStack();
  const uffds = Array.from({ length: Math.ceil(bytes / shareBytes) }, () =>
    stack.use(Userfaultfd.open(features)),
  );
  if (!backing.hugetlb && madvise(guestAddress, bytes, MADV_NOHUGEPAGE) < 0) {
    throw new SyscallError('madvise(MADV_NOHUGEPAGE)', errno());
  }
  const trap: Trap = {
    uffds: { fds: uffds.map(({ fd }) => fd), bytes: shareBytes },
    modes,
    exits,
    marked,
    poisons,
  };
  const calls = new SharedUffdCalls(memory.layout, trap.uffds);
  calls.register(guestAddress, bytes, modes);
  if (marked && calls.poisonRange(guestAddress, bytes, backing.pageBytes) < bytes) {
    throw new DefectError('guest memory was not empty when it was to be marked');
  }
  stack.move(); // now the caller's
  return { uffds: uffds as unknown as Userfaultfds, trap };
}

/**
 * Marks the pages of a unit that are not mapped, so that whoever touches them gets SIGBUS, and wakes
 * who sleeps on them. False where the kernel has no UFFDIO_POISON.
 */
export function poisonUnit(
  { guestAddress, unitBytes, backing }: GuestMemoryLayout,
  { uffds, poisons }: Trap,
  unit: number,
): boolean {
  if (!poisons) {
    return false;
  }
  const calls = new SharedUffdCalls({ guestAddress }, uffds);
  const address = guestAddress + unit * unitBytes;
  calls.poisonRange(address, unitBytes, backing.pageBytes);
  calls.wake(address, unitBytes);
  return true;
}
