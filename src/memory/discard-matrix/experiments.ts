/**
 * Experiments of one question each, on memory of their own. Every one is done twice: with the call
 * in question, and without any call, as a control. What the control does not show, the experiment
 * could not have seen.
 */
import { constants } from 'node:os';
import { DefectError, SyscallError, UnsupportedError } from '../../ffi/errors.js';
import {
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_PAGEFAULT_FLAG_WP,
  UFFD_FEATURE_POISON,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
  UFFD_FEATURE_WP_UNPOPULATED,
  UFFDIO_REGISTER_MODE_MINOR,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
} from '../../uapi/userfaultfd.js';
import { Userfaultfd } from '../../uffd/userfaultfd.js';
import type { CallThread } from './call-thread.js';
import type { DiscardCall } from './calls.js';
import { freedBytes, type HeldBytes, heldBytes } from './held-memory.js';
import { isLocked, type Lock } from './lock.js';
import { type Contents, Specimen } from './specimen.js';
import type { Subject } from './subjects.js';

const { EFAULT, EINVAL } = constants.errno;
const EHWPOISON = 133; // absent from node:os

/** What is done to a specimen: one of the calls, or nothing. Returns its errno, or 0. */
export type Treatment = (specimen: Specimen) => number;

/** The control. */
export const untreated: Treatment = () => 0;

/** What a call does where nothing is registered with userfaultfd. */
export interface PlainObservation {
  readonly errno: number;
  readonly freed: HeldBytes;
  /** What the guest reads in the page that held its data. */
  readonly guestReads: Contents;
  /** What is in the file then; null where there is none to look into. */
  readonly fileReads: Contents | null;
  /** Whether the guest mapping was really locked. */
  readonly locked: boolean;
}

export function observePlain(subject: Subject, lock: Lock, treat: Treatment): PlainObservation {
  using specimen = Specimen.create(subject, lock);
  const locked = isLocked(specimen.target.address);
  const before = heldBytes(specimen.memory);
  const errno = treat(specimen);
  const freed = freedBytes(before, heldBytes(specimen.memory));
  return {
    errno,
    freed,
    guestReads: specimen.guestReads(),
    fileReads: specimen.fileReads(),
    locked,
  };
}

/** Kinds of faults that userfaultfd reports, and what they are registered by. */
const FAULT_MODES = {
  missing: UFFDIO_REGISTER_MODE_MISSING,
  minor: UFFDIO_REGISTER_MODE_MINOR,
} as const;
export type FaultKind = keyof typeof FAULT_MODES;

/**
 * Whether the next touch of the page with data is a fault of this kind: nothing else is registered,
 * and UFFD_FEATURE_SIGBUS makes an EFAULT of it.
 *
 * @param file of a private mapping: whether it has a page of its own there (`kept`), or a hole
 */
export function observeFault(
  subject: Subject,
  lock: Lock,
  treat: Treatment,
  kind: FaultKind,
  file: 'kept' | 'emptied' = 'kept',
): boolean {
  using specimen = Specimen.create(subject, lock);
  if (file === 'emptied') {
    specimen.emptyFile();
  }
  using _uffd = register(specimen, FAULT_MODES[kind], UFFD_FEATURE_SIGBUS);
  treat(specimen);
  return specimen.touch(0) === EFAULT;
}

/** Whether the poison marker of a page that was never mapped is still there. */
export function observePoison(subject: Subject, lock: Lock, treat: Treatment): boolean {
  using specimen = Specimen.create(subject, lock);
  using uffd = register(
    specimen,
    UFFDIO_REGISTER_MODE_MISSING,
    UFFD_FEATURE_SIGBUS | UFFD_FEATURE_POISON,
  );
  uffd.poisonRange(specimen.page(1), specimen.pageBytes, specimen.memory.backing.pageBytes);
  treat(specimen);
  // Markers outlive the registration, and nothing else can fail then.
  const { address, bytes } = specimen.target;
  uffd.unregister(address, bytes);
  return specimen.populate(1) === EHWPOISON;
}

/** Pages by what they were before write-protection: with data, or never mapped. */
const PROTECTED_PAGES = { present: 0, unmapped: 1 } as const;
export type ProtectedPage = keyof typeof PROTECTED_PAGES;

/** Whether a page is still write-protected. */
export function observeProtection(
  subject: Subject,
  lock: Lock,
  treat: Treatment,
  page: ProtectedPage,
): boolean {
  using specimen = Specimen.create(subject, lock);
  // Of anonymous memory, what is not there is protected with this feature only (6.4).
  const unpopulated = Userfaultfd.offered() & UFFD_FEATURE_WP_UNPOPULATED;
  using uffd = register(
    specimen,
    UFFDIO_REGISTER_MODE_WP,
    UFFD_FEATURE_SIGBUS |
      UFFD_FEATURE_PAGEFAULT_FLAG_WP |
      UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
      unpopulated,
  );
  const { address, bytes } = specimen.target;
  uffd.writeProtect(address, bytes);
  treat(specimen);
  return specimen.touchToWrite(PROTECTED_PAGES[page]) === EFAULT;
}

/** Whether the call delivers UFFD_EVENT_REMOVE, and for just the range it is made on. */
export function observeRemoveEvent(
  subject: Subject,
  lock: Lock,
  call: DiscardCall,
  thread: CallThread,
): boolean {
  using specimen = Specimen.create(subject, lock);
  using uffd = register(specimen, UFFDIO_REGISTER_MODE_MISSING, UFFD_FEATURE_EVENT_REMOVE);
  const { target } = specimen;
  const { removed } = thread.make(call, target, uffd);
  const [range] = removed;
  if (range === undefined) {
    return false;
  }
  if (
    removed.length > 1 ||
    range.start !== target.address ||
    range.end !== target.address + target.bytes
  ) {
    throw new DefectError(`${call} sent events for another range than it was made on`);
  }
  return true;
}

/** @throws UnsupportedError when userfaultfd does not take it */
function register(specimen: Specimen, mode: number, features: number): Userfaultfd {
  const uffd = Userfaultfd.open(features);
  try {
    const { address, bytes } = specimen.target;
    uffd.register(address, bytes, mode);
    return uffd;
  } catch (error) {
    uffd.close();
    if (error instanceof SyscallError && error.errno === EINVAL) {
      throw new UnsupportedError('UFFDIO_REGISTER does not take this memory for it (EINVAL)');
    }
    throw error;
  }
}
