import { readFileSync } from 'node:fs';
import { Descriptor } from '../ffi/descriptor.js';
import { errnoName } from '../ffi/errors.js';
import { errno, syscall, syscallWithString } from '../ffi/libc.js';
import {
  FSCONFIG_CMD_CREATE,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOUNT_ATTR_RDONLY,
} from '../uapi/mount.js';
import { SYS_fsconfig, SYS_fsmount, SYS_fsopen } from '../uapi/syscall.js';
import type { Measured } from './measured.js';

/** Where tracefs is usually mounted. */
const MOUNTED = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'];

/**
 * The id of a tracepoint, which perf_event_open wants as `config`. Where tracefs is not mounted it
 * is mounted on nothing at all: fsmount(2) gives a descriptor of a mount that has no path, so no
 * other process sees it and nothing is left behind, however we end.
 *
 * @param name as `system/event`
 */
export function tracepointId(name: string): Measured {
  for (const directory of MOUNTED) {
    const id = readId(`${directory}/events/${name}/id`);
    if (id !== null) {
      return { value: id };
    }
  }
  const mount = detachedTracefs();
  if (typeof mount === 'string') {
    return { value: null, why: mount };
  }
  using descriptor = mount;
  const id = readId(`/proc/self/fd/${descriptor.fd}/events/${name}/id`);
  return id === null
    ? { value: null, why: `this kernel has no tracepoint ${name}` }
    : { value: id };
}

function readId(path: string): number | null {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return null; // not mounted here, or no such tracepoint: the caller tells which
  }
}

function detachedTracefs(): Descriptor | string {
  const context = syscallWithString(SYS_fsopen, 'tracefs', FSOPEN_CLOEXEC);
  if (context < 0) {
    return `tracefs is not mounted and cannot be: fsopen failed with ${errnoName(errno())}; run as root or mount it (mount -t tracefs tracefs /sys/kernel/tracing)`;
  }
  using owned = new Descriptor(context);
  if (syscall(SYS_fsconfig, owned.fd, FSCONFIG_CMD_CREATE, 0, 0, 0) < 0) {
    return `tracefs is not mounted and cannot be: fsconfig failed with ${errnoName(errno())}`;
  }
  const mount = syscall(SYS_fsmount, owned.fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY, 0, 0);
  return mount < 0
    ? `tracefs is not mounted and cannot be: fsmount failed with ${errnoName(errno())}`
    : new Descriptor(mount);
}
