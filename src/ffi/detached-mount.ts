import {
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
} from '../uapi/mount.js';
import { SYS_fsconfig, SYS_fsmount, SYS_fsopen } from '../uapi/syscall.js';
import { Descriptor } from './descriptor.js';
import { SyscallError } from './errors.js';
import { errno, fsconfigString, syscall, syscallWithString } from './libc.js';

/**
 * Mounts a file system on nothing at all: fsmount(2) gives a descriptor of a mount that has no
 * path, so no other process sees it, and it is gone with the descriptor and the files opened on it,
 * however the process ends. Its root is `/proc/self/fd/N`. Linux 5.2, CAP_SYS_ADMIN.
 *
 * @param type as in /proc/filesystems
 * @param options mount options with values
 * @param attributes MOUNT_ATTR_* bits
 * @throws SyscallError
 */
export function detachedMount(
  type: string,
  options: Readonly<Record<string, string>> = {},
  attributes = 0,
): Descriptor {
  using context = checked('fsopen', syscallWithString(SYS_fsopen, type, FSOPEN_CLOEXEC));
  for (const [name, value] of Object.entries(options)) {
    if (fsconfigString(SYS_fsconfig, context.fd, FSCONFIG_SET_STRING, name, value, 0) < 0) {
      throw new SyscallError(`fsconfig(${name}=${value}) of ${type}`, errno(), HINT);
    }
  }
  if (syscall(SYS_fsconfig, context.fd, FSCONFIG_CMD_CREATE, 0, 0, 0) < 0) {
    throw new SyscallError(`fsconfig(CREATE) of ${type}`, errno(), HINT);
  }
  return checked('fsmount', syscall(SYS_fsmount, context.fd, FSMOUNT_CLOEXEC, attributes, 0, 0));
}

const HINT = 'Mounting needs root (CAP_SYS_ADMIN).';

function checked(call: string, fd: number): Descriptor {
  if (fd < 0) {
    throw new SyscallError(call, errno(), HINT);
  }
  return new Descriptor(fd);
}
