import { existsSync, lstatSync, statfsSync, statSync, unlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { Descriptor } from '../ffi/descriptor.js';
import { detachedMount } from '../ffi/detached-mount.js';
import { errnoName, SyscallError, scarcity, UnsupportedError, UsageError } from '../ffi/errors.js';
import { errno, fallocate, fcntl, ftruncate, memfd_create, open } from '../ffi/libc.js';
import {
  F_ADD_SEALS,
  F_SEAL_SHRINK,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  O_TMPFILE,
} from '../uapi/fcntl.js';
import { HUGETLBFS_MAGIC, TMPFS_MAGIC } from '../uapi/magic.js';
import { MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_HUGE_SHIFT, MFD_HUGETLB } from '../uapi/mman.js';
import {
  BACKING_KINDS,
  BACKINGS,
  type Backing,
  type BackingKind,
  type FileSystemKind,
  fileBacking,
  parseFileName,
} from './backing.js';

const FILE_NAME = 'faultline guest memory';
const MANY_FILES = 'Raise the limit of open files (ulimit -n).';

/**
 * The backing of this name. One named by a path depends on the file system that the path lies on.
 *
 * @throws UsageError for a name that is none, or a path that cannot be used
 */
export function findBacking(name: string): Backing {
  const named = parseFileName(name);
  if (named === null) {
    if (!Object.hasOwn(BACKINGS, name)) {
      throw new UsageError(
        `--backing ${name} is none of ${BACKING_KINDS.join(', ')}, file:PATH, file-private:PATH`,
      );
    }
    return BACKINGS[name as BackingKind];
  }
  const { path, sharing } = named;
  try {
    const { type, bsize } = statfsSync(existsSync(path) ? path : dirname(path));
    return fileBacking(path, sharing, fileSystemOf(type), bsize);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`--backing ${name}: ${path} cannot be looked at (${code})`, '', {
      cause: error,
    });
  }
}

function fileSystemOf(magic: number): FileSystemKind {
  switch (magic) {
    case TMPFS_MAGIC:
      return 'tmpfs';
    case HUGETLBFS_MAGIC:
      return 'hugetlbfs';
    default:
      return 'regular';
  }
}

/**
 * Opens what a backing's pages come from: a file of `bytes` bytes, all holes (but for a regular
 * file, whose blocks are allocated, since a full disk would be SIGBUS later). Null for memory
 * without a file.
 *
 * @throws UnsupportedError, UsageError, SyscallError
 */
export function openBacking(backing: Backing, bytes: number): Descriptor | null {
  const { file } = backing;
  switch (file.kind) {
    case 'anonymous':
      return null;
    case 'memfd': {
      const huge = file.hugetlb
        ? MFD_HUGETLB | (Math.log2(backing.pageBytes) << MFD_HUGE_SHIFT)
        : 0;
      return sized(openMemfd(MFD_CLOEXEC | MFD_ALLOW_SEALING | huge, backing), bytes);
    }
    case 'tmpfs':
      return sized(openTmpfs(file.huge), bytes);
    case 'path':
      return openPath(backing, file.path, bytes);
  }
}

function sized(file: Descriptor, bytes: number): Descriptor {
  if (ftruncate(file.fd, bytes) < 0) {
    const error = errno();
    file.close();
    throw new UnsupportedError(
      `a memory file of ${bytes} bytes cannot be made (${errnoName(error)})`,
      'Ask for less memory.',
    );
  }
  return file;
}

function openMemfd(flags: number, backing: Backing): Descriptor {
  const fd = memfd_create(FILE_NAME, flags);
  if (fd >= 0) {
    if (!backing.truncatable) {
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK); // against whoever opens it by /proc/PID/fd
    }
    return new Descriptor(fd);
  }
  const error = errno();
  if (backing.hugetlb) {
    throw new UnsupportedError(
      `this kernel or CPU has no hugetlb pages of ${backing.pageBytes / 2 ** 20} MiB (memfd_create: ${errnoName(error)})`,
      'Use a kernel with CONFIG_HUGETLBFS, or another --backing.',
    );
  }
  throw new SyscallError('memfd_create', error, MANY_FILES);
}

/** A file without a name on a tmpfs without a path: both are gone with the last descriptor. */
function openTmpfs(huge: string): Descriptor {
  // No limit, for a store that finds it full is SIGBUS. The file is as large as it is, and yet a
  // limit of its size is not enough: a collapse takes room for holes until it gives up on them.
  const size = '0';
  let mount: Descriptor;
  try {
    mount = detachedMount('tmpfs', { size, huge });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UnsupportedError(
      `a tmpfs with huge=${huge} cannot be mounted: ${reason}`,
      'Run as root (CAP_SYS_ADMIN) on Linux 5.2 or newer with CONFIG_TRANSPARENT_HUGEPAGE.',
      { cause: error },
    );
  }
  using root = mount;
  const fd = open(`/proc/self/fd/${root.fd}`, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600);
  if (fd < 0) {
    throw new SyscallError('open(O_TMPFILE) on a tmpfs', errno(), MANY_FILES);
  }
  return new Descriptor(fd);
}

/**
 * A file of the user's choice. One that does not exist is made without a name: it lies where the
 * user said, and nothing of it is left, however the process ends. One that exists must be empty, for
 * guest memory overwrites it, and is emptied again on close (but not if the process is killed).
 */
function openPath(backing: Backing, path: string, bytes: number): Descriptor {
  const isNew = !existsSync(path);
  if (isNew && lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
    throw new UsageError(
      `--backing ${backing.name}: ${path} is a symbolic link to a file that does not exist`,
      'Make the file, or name it itself.',
    );
  }
  if (!isNew) {
    const stat = statSync(path);
    if (!stat.isFile()) {
      throw new UsageError(`--backing ${backing.name}: ${path} is not a regular file`);
    }
    if (stat.size > 0) {
      throw new UsageError(
        `--backing ${backing.name}: ${path} is not empty, and guest memory would overwrite it`,
        'Name a file that does not exist, or an empty one.',
      );
    }
  }
  const fd = isNew ? openNameless(path) : open(path, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) {
    const name = errnoName(errno());
    const message = `--backing ${backing.name}: ${path} cannot be opened (${name})`;
    const lack = scarcity(name);
    throw lack === null ? new UsageError(message) : new UnsupportedError(message, lack);
  }
  const file = sized(isNew ? new Descriptor(fd) : new BorrowedFile(fd), bytes);
  // A store to a page that the disk has no room for would be SIGBUS.
  if (backing.uffdModes === 0 && fallocate(fd, 0, 0, bytes) < 0) {
    const error = errno();
    file.close();
    throw new UnsupportedError(
      `${path} cannot be given ${bytes} bytes on its file system (${errnoName(error)})`,
      'Ask for less memory, or name a file elsewhere.',
    );
  }
  return file;
}

/** A new file in the directory of `path`; -1 with errno. */
function openNameless(path: string): number {
  const fd = open(dirname(path), O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600);
  const { EOPNOTSUPP, EISDIR, EINVAL } = constants.errno;
  if (fd >= 0 || ![EOPNOTSUPP, EISDIR, EINVAL].includes(errno())) {
    return fd;
  }
  // A file system without O_TMPFILE: it has its name for a moment.
  const named = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0o600);
  if (named >= 0) {
    unlinkSync(path);
  }
  return named;
}

/** A file that was there before, empty, and is empty again afterwards. */
class BorrowedFile extends Descriptor {
  protected override beforeClose(): void {
    ftruncate(this.fd, 0);
  }
}
