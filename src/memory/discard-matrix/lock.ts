import { constants } from 'node:os';
import { SyscallError, UnsupportedError } from '../../ffi/errors.js';
import { errno, mlock2 } from '../../ffi/libc.js';
import { MLOCK_ONFAULT } from '../../uapi/mman.js';
import { readSmaps } from '../smaps.js';

/** Whether the guest mapping is locked into memory while a call is made. */
export const LOCKS = ['mapped', 'mlocked'] as const;
export type Lock = (typeof LOCKS)[number];

const { EAGAIN, ENOMEM, EPERM } = constants.errno;

/**
 * Locks a part of a mapping as mlock(2) does, but without faulting in what is missing: to madvise(2)
 * both are the same, VM_LOCKED. Linux 4.4. (Of hugetlb memory 6.18 locks nothing, which
 * {@link isLocked} tells, and faults everything in all the same.)
 *
 * @throws UnsupportedError beyond RLIMIT_MEMLOCK
 */
export function lockOnFault(address: number, bytes: number): void {
  if (mlock2(address, bytes, MLOCK_ONFAULT) === 0) {
    return;
  }
  const error = errno();
  if (error === ENOMEM || error === EPERM || error === EAGAIN) {
    throw new UnsupportedError(
      `${bytes} bytes may not be locked into memory (RLIMIT_MEMLOCK)`,
      'Raise the limit (ulimit -l), or run as root.',
    );
  }
  throw new SyscallError('mlock2', error);
}

/** Whether the mapping at an address has VM_LOCKED, from smaps. */
export function isLocked(address: number): boolean {
  const area = readSmaps().find(({ start, end }) => start <= address && address < end);
  return area?.flags.includes('lo') ?? false;
}
