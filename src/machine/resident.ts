import type { Installer } from '../fault/installer.js';
import { MEMORY_ERROR } from '../fault/outcome.js';
import { SyscallError, UnsupportedError, UsageError } from '../ffi/errors.js';
import { type GuestAccess, openAccess } from '../memory/guest-access.js';
import type { GuestMemory, GuestMemoryLayout } from '../memory/guest-memory.js';
import { MAPPED } from '../memory/page-states.js';
import { describeInstallFailure } from './explain-end.js';
import type { ImageSegment } from './image.js';

/**
 * Puts segments into guest memory and makes their fault units resident, before any vCPU runs. What
 * a unit holds besides comes from the source, as if it had been faulted in.
 *
 * @returns the numbers of the pages that segments lie in, whose contents are the image's
 * @throws UsageError when a segment lies outside guest memory
 * @throws UnsupportedError when there is no memory for it
 */
export function loadResident(
  memory: GuestMemory,
  segments: readonly ImageSegment[],
  installer: Installer,
): ReadonlySet<number> {
  const pages = new Set<number>();
  const access = openAccess(memory.layout);
  checkSegments(memory.layout, segments);
  for (const { address, data, bytes } of segments) {
    bringIn(memory, address, bytes, installer);
    write(access, address, data, bytes);
    for (let page = Math.floor(address / 4096); page * 4096 < address + bytes; page++) {
      pages.add(page);
    }
  }
  return pages;
}

/** @throws UsageError when a segment lies outside guest memory */
export function checkSegments(
  memory: Pick<GuestMemoryLayout, 'bytes'>,
  segments: readonly ImageSegment[],
): void {
  for (const { address, bytes } of segments) {
    if (address + bytes > memory.bytes) {
      throw new UsageError(
        `the image needs memory up to 0x${(address + bytes).toString(16)}, and the guest has ${memory.bytes} bytes`,
        'Give it more with --memory.',
      );
    }
  }
}

function bringIn(memory: GuestMemory, address: number, bytes: number, installer: Installer): void {
  const { unitBytes } = memory.layout;
  const last = Math.floor((address + bytes - 1) / unitBytes);
  for (let unit = Math.floor(address / unitBytes); unit <= last; unit++) {
    if (memory.states.stateOf(unit) !== MAPPED) {
      if (!installer.fill(unit, 1) || installer.map(unit, 1) === MEMORY_ERROR) {
        throw new UnsupportedError(
          `the image cannot be loaded at GPA 0x${(unit * unitBytes).toString(16)}: ${describeInstallFailure(installer)}`,
          memory.backing.hugetlb
            ? 'Make the hugetlb pool larger; without --no-reserve you are told by how much.'
            : '',
        );
      }
      memory.states.words[unit] = MAPPED;
    }
  }
}

function write(access: GuestAccess, address: number, data: Uint8Array, bytes: number): void {
  try {
    access.write(address, data);
    clear(access, address + data.length, bytes - data.length);
  } catch (error) {
    if (error instanceof SyscallError) {
      throw new UnsupportedError(
        `the image cannot be loaded at GPA 0x${address.toString(16)}: ${error.message}`,
        'Another process may have cut the file of --backing short.',
        { cause: error },
      );
    }
    throw error;
  }
}

const ZEROES = new Uint8Array(65536);

function clear(access: GuestAccess, start: number, bytes: number): void {
  for (let done = 0; done < bytes; done += ZEROES.length) {
    access.write(start + done, ZEROES.subarray(0, Math.min(ZEROES.length, bytes - done)));
  }
}
