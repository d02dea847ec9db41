import { constants } from 'node:os';
import { SyscallError } from '../ffi/errors.js';
import { errno, ioctl } from '../ffi/libc.js';

const { EBADF, EFAULT, EINTR, EINVAL, EMFILE, ENFILE, ENOMEM, ENOTTY, EEXIST, EBUSY } =
  constants.errno;

/** What an errno of a KVM ioctl most often means. */
const HINTS: Readonly<Record<number, string>> = {
  [EBADF]: 'The descriptor was closed before its users.',
  [EBUSY]: 'It was already set up on this vCPU or VM.',
  [EEXIST]: 'It exists already, or overlaps one that does.',
  [EFAULT]: 'A struct passed to it lies in memory that is not mapped.',
  [EINVAL]:
    'This kernel does not accept one of its fields; `faultline probe` lists what KVM offers.',
  [EMFILE]: 'Raise the limit of open files (ulimit -n).',
  [ENFILE]: 'The system is out of open files (sysctl fs.file-max).',
  [ENOMEM]: 'The kernel is out of memory for it; use less memory or fewer vCPUs.',
  [ENOTTY]: 'This kernel does not know it.',
};

/**
 * A KVM ioctl of the set-up path.
 *
 * @param name as in the kernel headers, for the error
 * @returns what the ioctl returned, 0 or more
 * @throws SyscallError naming the ioctl, its errno and what that usually means
 */
export function kvmIoctl(name: string, fd: number, request: number, argument: number): number {
  for (;;) {
    const result = ioctl(fd, request, argument);
    if (result >= 0) {
      return result;
    }
    const error = errno();
    if (error !== EINTR) {
      throw new SyscallError(name, error, HINTS[error] ?? '');
    }
    // A signal for this process came while KVM waited for something: KVM_CREATE_VM takes milliseconds.
  }
}
