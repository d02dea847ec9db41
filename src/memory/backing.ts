import { Descriptor } from '../ffi/descriptor.js';
import { SyscallError, UnsupportedError } from '../ffi/errors.js';
import { errno, ftruncate, memfd_create } from '../ffi/libc.js';
import { MFD_CLOEXEC } from '../uapi/mman.js';
import {
  UFFD_FEATURE_MINOR_SHMEM,
  UFFD_FEATURE_MISSING_SHMEM,
  UFFDIO_REGISTER_MODE_MINOR,
  UFFDIO_REGISTER_MODE_MISSING,
} from '../uapi/userfaultfd.js';

/** Where guest pages come from, as data: nothing outside this file asks which kind it is. */
export interface Backing {
  /** As in `--backing`. */
  readonly kind: BackingKind;
  readonly description: string;
  /** The smallest fault unit: the size of its pages. */
  readonly pageBytes: number;
  /** UFFD_FEATURE_* bits without which it cannot be registered. */
  readonly uffdFeatures: number;
  /**
   * UFFDIO_REGISTER_MODE_* bits that together trap every access to a page that is not mapped. A page
   * that is not in the page cache faults as missing, one that is as minor.
   */
  readonly uffdModes: number;
  /** Opens a file of `bytes` bytes, all holes. */
  open(bytes: number): Descriptor;
}

export type BackingKind = 'shmem';

export const BACKINGS: Readonly<Record<BackingKind, Backing>> = {
  shmem: {
    kind: 'shmem',
    description: 'a memfd, mapped shared (tmpfs pages of 4 KiB)',
    pageBytes: 4096,
    uffdFeatures: UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM,
    uffdModes: UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
    open: (bytes) => openMemfd('faultline guest memory', bytes),
  },
};

function openMemfd(name: string, bytes: number): Descriptor {
  const fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) {
    throw new SyscallError('memfd_create', errno(), 'Raise the limit of open files (ulimit -n).');
  }
  const file = new Descriptor(fd);
  if (ftruncate(fd, bytes) < 0) {
    const error = errno();
    file.close();
    throw new UnsupportedError(
      `a memory file of ${bytes} bytes cannot be made (errno ${error})`,
      'Ask for less memory.',
    );
  }
  return file;
}
