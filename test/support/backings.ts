/** Every kind of memory, for tests of what must be true of all of them. */
import t, { type Test } from 'tap';
import { detachedMount } from '../../src/ffi/detached-mount.js';
import { BACKINGS, type Backing, fileBacking } from '../../src/memory/backing.js';
import { findBacking } from '../../src/memory/open-backing.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { rootSkip } from './host.js';
import { withHugetlbPages } from './hugetlb.js';

export interface TestedBacking {
  /** For the names of tests. */
  readonly label: string;
  /** Its traits; one named by a path gets that when it is opened. */
  readonly backing: Backing;
  /** What it needs of the host besides hugetlb pages; a reason to skip, or false. */
  readonly skip: string | false;
  /** Makes it usable until the test ends. */
  readonly open: (t: Test) => Backing;
}

/** A file on a file system of its own, which has no path but through its descriptor. */
function onMount(
  label: string,
  sharing: 'shared' | 'private',
  fileSystem: 'tmpfs' | 'hugetlbfs',
  options: Readonly<Record<string, string>>,
): TestedBacking {
  const pageBytes = fileSystem === 'hugetlbfs' ? HUGE_PAGE_BYTES : 4096;
  return {
    label,
    backing: fileBacking('PATH', sharing, fileSystem, pageBytes),
    skip: rootSkip(),
    open: (t) => {
      const mount = detachedMount(fileSystem, options);
      t.teardown(() => mount.close());
      const prefix = sharing === 'private' ? 'file-private' : 'file';
      return findBacking(`${prefix}:/proc/self/fd/${mount.fd}/memory`);
    },
  };
}

/** All that userfaultfd takes. */
export const TESTED_BACKINGS: readonly TestedBacking[] = [
  ...Object.values(BACKINGS).map((backing) => ({
    label: backing.name,
    backing,
    skip: backing.name.startsWith('tmpfs') && rootSkip(),
    open: () => backing,
  })),
  onMount('file on tmpfs', 'shared', 'tmpfs', { size: '64M' }),
  onMount('file-private on tmpfs', 'private', 'tmpfs', { size: '64M' }),
  onMount('file on hugetlbfs', 'shared', 'hugetlbfs', { pagesize: '2M' }),
  onMount('file-private on hugetlbfs', 'private', 'hugetlbfs', { pagesize: '2M' }),
];

export interface BackingTestOptions {
  /** How much memory a test is to have, of a backing of this page size. Default 16 KiB or 4 pages. */
  readonly bytes?: (pageBytes: number) => number;
  /** Of which it is true; default all. */
  readonly of?: (backing: Backing) => boolean;
  /** With hugetlb pages of 1 GiB too, each of which takes the kernel a good part of a second. */
  readonly gigantic?: boolean;
  readonly skip?: string | false;
}

/** A test for every backing. It gets the backing, and how much memory it may make of it. */
export function eachBacking(
  what: string,
  options: BackingTestOptions,
  body: (t: Test, backing: Backing, bytes: number) => Promise<void> | void,
): void {
  const { bytes: bytesOf = (pageBytes) => 4 * pageBytes, of = () => true, gigantic } = options;
  for (const { label, backing, skip, open } of TESTED_BACKINGS) {
    if (!of(backing) || (backing.pageBytes === 2 ** 30 && !gigantic)) {
      continue;
    }
    const reason = options.skip || skip;
    t.test(`${label}: ${what}`, { skip: reason, timeout: 60_000 }, async (t) => {
      const bytes = bytesOf(backing.pageBytes);
      const { hugetlb, pageBytes } = backing;
      if (!hugetlb || withHugetlbPages(t, pageBytes, bytes / pageBytes)) {
        await body(t, open(t), bytes);
      }
    });
  }
}
