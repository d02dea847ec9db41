import { randomUUID } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UnsupportedError } from '../../ffi/errors.js';
import { BACKINGS, type Backing } from '../backing.js';
import { findBacking } from '../open-backing.js';
import { HUGE_PAGE_BYTES } from '../sizes.js';

/** A kind of memory that calls are tried on. */
export interface Subject {
  /** As in `--backing`; `file` and `file-private` for a regular file in a temporary place. */
  readonly name: string;
  readonly description: string;
  /** What one experiment maps of it at a time: a page, or a huge page where the kernel maps those. */
  readonly pageBytes: number;
  /** @throws UnsupportedError when there is no place for a file */
  readonly backing: () => Backing;
}

/** Every backing, and a regular file mapped shared and mapped private. */
export function subjects(): readonly Subject[] {
  return [
    ...Object.values(BACKINGS).map((backing) => ({
      name: backing.name,
      description: backing.description,
      pageBytes: backing.hugeFile ? HUGE_PAGE_BYTES : backing.pageBytes,
      backing: () => backing,
    })),
    fileSubject('file', 'shared'),
    fileSubject('file-private', 'private'),
  ];
}

function fileSubject(name: 'file' | 'file-private', sharing: string): Subject {
  return {
    name,
    description: `a regular file, mapped ${sharing}`,
    pageBytes: BACKINGS.shmem.pageBytes,
    // A name nobody has, in a directory for temporary files: it is unlinked as soon as it is open.
    backing: () => findBacking(`${name}:${join(diskDirectory(), `faultline-${randomUUID()}`)}`),
  };
}

/** A directory for temporary files that is not on a tmpfs: what is asked is what a disk's files do. */
function diskDirectory(): string {
  for (const directory of [tmpdir(), '/var/tmp', process.cwd()]) {
    try {
      accessSync(directory, constants.W_OK);
      if (findBacking(`file:${directory}`).uffdModes === 0) {
        return directory;
      }
    } catch {
      // not there, or not writable: the next one
    }
  }
  throw new UnsupportedError(
    'no directory for temporary files lies on a disk (only on tmpfs, or cannot be written)',
    'Set TMPDIR to one that does.',
  );
}
