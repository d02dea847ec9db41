import { readFileSync } from 'node:fs';
import type { Descriptor } from '../ffi/descriptor.js';
import { detachedMount } from '../ffi/detached-mount.js';
import { SyscallError } from '../ffi/errors.js';
import { MOUNT_ATTR_RDONLY } from '../uapi/mount.js';
import type { Measured } from './measured.js';

/** Where tracefs is usually mounted. */
const MOUNTED = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'];

/** A file of a tracepoint, or why it cannot be read. */
export type TracepointFile =
  | { readonly text: string }
  | { readonly text: null; readonly why: string };

/**
 * The id of a tracepoint, which perf_event_open wants as `config`.
 *
 * @param name as `system/event`
 */
export function tracepointId(name: string): Measured {
  const id = readTracepoint(name, 'id');
  return id.text === null ? { value: null, why: id.why } : { value: Number(id.text) };
}

/**
 * Reads a file of a tracepoint. Where tracefs is not mounted it is mounted on nothing at all:
 * fsmount(2) gives a descriptor of a mount that has no path, so no other process sees it and nothing
 * is left behind, however we end.
 *
 * @param name as `system/event`
 */
export function readTracepoint(name: string, file: 'id' | 'format'): TracepointFile {
  for (const directory of MOUNTED) {
    const text = readText(`${directory}/events/${name}/${file}`);
    if (text !== null) {
      return { text };
    }
  }
  const mount = detachedTracefs();
  if (typeof mount === 'string') {
    return { text: null, why: mount };
  }
  using descriptor = mount;
  const text = readText(`/proc/self/fd/${descriptor.fd}/events/${name}/${file}`);
  return text === null ? { text: null, why: `this kernel has no tracepoint ${name}` } : { text };
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null; // not mounted here, or no such tracepoint: the caller tells which
  }
}

function detachedTracefs(): Descriptor | string {
  try {
    return detachedMount('tracefs', {}, MOUNT_ATTR_RDONLY);
  } catch (error) {
    if (!(error instanceof SyscallError)) {
      throw error;
    }
    return `tracefs is not mounted and cannot be: ${error.message}; run as root or mount it (mount -t tracefs tracefs /sys/kernel/tracing)`;
  }
}
