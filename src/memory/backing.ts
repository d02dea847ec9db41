import { UsageError } from '../ffi/errors.js';
import {
  UFFD_FEATURE_MINOR_HUGETLBFS,
  UFFD_FEATURE_MINOR_SHMEM,
  UFFD_FEATURE_MISSING_HUGETLBFS,
  UFFD_FEATURE_MISSING_SHMEM,
  UFFDIO_REGISTER_MODE_MINOR,
  UFFDIO_REGISTER_MODE_MISSING,
} from '../uapi/userfaultfd.js';
import { HUGE_PAGE_BYTES, LARGEST_UNIT_BYTES, PAGE_BYTES } from './sizes.js';

/** How pages are taken out of the guest mapping and freed; steps of one discard, in their order. */
export type DiscardStep =
  /** fallocate(PUNCH_HOLE) of the file. */
  | 'punch-hole'
  /** MADV_REMOVE through the alias mapping: a punch for memory without a file descriptor. */
  | 'remove-alias'
  /** MADV_DONTNEED_LOCKED of the guest mapping: drops private pages (MADV_DONTNEED before 5.18). */
  | 'drop-private';

/** What there is to know of a kind of memory. Plain data: workers receive it. */
export interface BackingTraits {
  /** As in `--backing`, for messages. */
  readonly name: string;
  /** The size of its pages: the smallest fault unit. */
  readonly pageBytes: number;
  /** The largest fault unit. */
  readonly largestUnitBytes: number;
  /** MAP_SHARED or MAP_PRIVATE of the guest mapping. */
  readonly sharing: 'shared' | 'private';
  /** Whether there is a second, unregistered mapping of the same pages. */
  readonly alias: boolean;
  /**
   * `continue`: pages are filled through the alias mapping and mapped by UFFDIO_CONTINUE. `copy`:
   * UFFDIO_COPY from a staging buffer.
   */
  readonly fill: 'continue' | 'copy';
  /**
   * How a page of the alias mapping comes to be. `store`: by storing to it, for it cannot fail.
   * `populate`: by MADV_POPULATE_WRITE, which gives an error where a store would be SIGBUS: an empty
   * hugetlb pool, a full file system, a file cut short.
   */
  readonly allocate: 'store' | 'populate';
  /**
   * Whether other processes can reach its file and cut it short, so that any store to a mapping of it
   * may be SIGBUS at any time. Only the kernel then copies to and from it.
   */
  readonly truncatable: boolean;
  /**
   * Where the guest's own writes can be seen: `alias`, or `guest` (by process_vm_readv) where the
   * guest mapping has copies of its own.
   */
  readonly inspect: 'alias' | 'guest';
  /**
   * UFFDIO_REGISTER_MODE_* bits that together trap every access to a page that is not mapped (one
   * that is not in the page cache faults as missing, one that is as minor); 0 if userfaultfd does
   * not take this memory.
   */
  readonly uffdModes: number;
  /** UFFD_FEATURE_* bits without which it cannot be registered. */
  readonly uffdFeatures: number;
  /** How it is discarded. */
  readonly discard: readonly DiscardStep[];
  /** Whether 2 MiB blocks of it can be mapped by huge pages again (MADV_COLLAPSE). */
  readonly collapsible: boolean;
  /** Whether its pages come from a hugetlb pool. */
  readonly hugetlb: boolean;
  /** Whether the alias mapping may take huge pages from the file system: tmpfs with huge=. */
  readonly hugeFile: boolean;
}

/** What the memory's pages are opened from. */
export type BackingFile =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'memfd'; readonly hugetlb: boolean }
  | { readonly kind: 'tmpfs'; readonly huge: 'never' | 'always' }
  | { readonly kind: 'path'; readonly path: string };

/** Where guest pages come from, as data: nothing else asks which kind it is. */
export interface Backing extends BackingTraits {
  readonly description: string;
  readonly file: BackingFile;
}

const SHMEM = {
  pageBytes: PAGE_BYTES,
  largestUnitBytes: LARGEST_UNIT_BYTES,
  sharing: 'shared',
  alias: true,
  fill: 'continue',
  allocate: 'store',
  truncatable: false,
  inspect: 'alias',
  uffdModes: UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
  uffdFeatures: UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM,
  discard: ['punch-hole'],
  collapsible: true,
  hugetlb: false,
  hugeFile: false,
} as const;

/**
 * A private mapping of shmem: pages come from the file, the guest's writes make copies. A write to a
 * huge page makes none: the kernel splits it, which drops the entries of all its pages (6.18), and in
 * exit delivery the next of them that KVM itself looks at would be a triple fault.
 */
const SHMEM_PRIVATE = {
  ...SHMEM,
  sharing: 'private',
  inspect: 'guest',
  discard: ['punch-hole', 'drop-private'],
  collapsible: false,
} as const;

const HUGETLB = {
  ...SHMEM,
  allocate: 'populate',
  uffdFeatures: UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_HUGETLBFS,
  collapsible: false,
  hugetlb: true,
} as const;

/** Pages belong to the mapping alone: the file, if there is one, stays empty. */
const HUGETLB_PRIVATE = {
  ...HUGETLB,
  sharing: 'private',
  alias: false,
  fill: 'copy',
  inspect: 'guest',
  uffdModes: UFFDIO_REGISTER_MODE_MISSING,
  uffdFeatures: UFFD_FEATURE_MISSING_HUGETLBFS,
  discard: ['drop-private'],
} as const;

/** ext4, xfs, …: the kernel fills its pages from the disk, and userfaultfd has no part in it. */
const REGULAR_FILE = {
  ...SHMEM,
  allocate: 'populate',
  uffdModes: 0,
  uffdFeatures: 0,
  collapsible: false,
} as const;

const ROWS = {
  'anon-private': {
    ...SHMEM,
    description: 'anonymous memory, mapped private',
    file: { kind: 'anonymous' },
    sharing: 'private',
    alias: false,
    fill: 'copy',
    inspect: 'guest',
    uffdModes: UFFDIO_REGISTER_MODE_MISSING,
    uffdFeatures: 0,
    discard: ['drop-private'],
  },
  'anon-shared': {
    ...SHMEM,
    description: 'anonymous memory, mapped shared (shmem without a descriptor)',
    file: { kind: 'anonymous' },
    discard: ['remove-alias'],
  },
  shmem: {
    ...SHMEM,
    description: 'a memfd, mapped shared (tmpfs pages of 4 KiB)',
    file: { kind: 'memfd', hugetlb: false },
  },
  'shmem-private': {
    ...SHMEM_PRIVATE,
    description: 'a memfd, mapped private: writes of the guest are copies',
    file: { kind: 'memfd', hugetlb: false },
  },
  tmpfs: {
    ...SHMEM,
    description: 'a file on a tmpfs of its own, mapped shared',
    file: { kind: 'tmpfs', huge: 'never' },
  },
  'tmpfs-huge': {
    ...SHMEM,
    description: 'a file on a tmpfs of its own with huge=always, mapped shared',
    file: { kind: 'tmpfs', huge: 'always' },
    hugeFile: true,
  },
  'hugetlb-2M': {
    ...HUGETLB,
    description: 'a hugetlb memfd of 2 MiB pages, mapped shared',
    file: { kind: 'memfd', hugetlb: true },
    pageBytes: HUGE_PAGE_BYTES,
    largestUnitBytes: HUGE_PAGE_BYTES,
  },
  'hugetlb-1G': {
    ...HUGETLB,
    description: 'a hugetlb memfd of 1 GiB pages, mapped shared',
    file: { kind: 'memfd', hugetlb: true },
    pageBytes: 2 ** 30,
    largestUnitBytes: 2 ** 30,
  },
  'hugetlb-private-2M': {
    ...HUGETLB_PRIVATE,
    description: 'a hugetlb memfd of 2 MiB pages, mapped private',
    file: { kind: 'memfd', hugetlb: true },
    pageBytes: HUGE_PAGE_BYTES,
    largestUnitBytes: HUGE_PAGE_BYTES,
  },
} as const satisfies Readonly<Record<string, Omit<Backing, 'name'>>>;

export type BackingKind = keyof typeof ROWS;

/** As in `--backing`. */
export type BackingName = BackingKind | `file:${string}` | `file-private:${string}`;

/** The backings that need no path. */
export const BACKINGS = Object.fromEntries(
  Object.entries(ROWS).map(([name, row]) => [name, { name, ...row }]),
) as unknown as Readonly<Record<BackingKind, Backing>>;

export const BACKING_KINDS = Object.keys(ROWS) as readonly BackingKind[];

/** What a path can lie on; see `open-backing.ts`. */
export type FileSystemKind = 'tmpfs' | 'hugetlbfs' | 'regular';

/**
 * The backing that a file on such a file system makes.
 *
 * @param pageBytes of the file system, for hugetlbfs
 */
export function fileBacking(
  path: string,
  sharing: 'shared' | 'private',
  fileSystem: FileSystemKind,
  pageBytes: number,
): Backing {
  const isPrivate = sharing === 'private';
  const named = {
    name: `${isPrivate ? 'file-private' : 'file'}:${path}`,
    file: { kind: 'path', path },
    truncatable: true,
  } as const;
  // The file system is somebody else's and may be full: a store could be SIGBUS.
  switch (fileSystem) {
    case 'tmpfs':
      return {
        ...(isPrivate ? SHMEM_PRIVATE : SHMEM),
        ...named,
        allocate: 'populate',
        description: `a file on tmpfs, mapped ${sharing}`,
      };
    case 'hugetlbfs':
      return {
        ...(isPrivate ? HUGETLB_PRIVATE : HUGETLB),
        ...named,
        pageBytes,
        largestUnitBytes: pageBytes,
        description: `a file on hugetlbfs, mapped ${sharing}`,
      };
    case 'regular':
      return {
        ...REGULAR_FILE,
        ...named,
        ...(isPrivate && { sharing, inspect: 'guest', discard: ['drop-private'] }),
        description: `a regular file, mapped ${sharing}`,
      };
  }
}

/** `file:PATH` or `file-private:PATH` taken apart; null for any other name. */
export function parseFileName(
  name: string,
): { readonly path: string; readonly sharing: 'shared' | 'private' } | null {
  const [, kind, path] = /^(file|file-private):(.*)$/s.exec(name) ?? [];
  if (path === undefined) {
    return null;
  }
  if (path === '') {
    throw new UsageError(`--backing ${name} names no file`, `Use ${kind}:PATH.`);
  }
  return { path, sharing: kind === 'file' ? 'shared' : 'private' };
}
