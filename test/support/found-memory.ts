/**
 * The memory of a guest that runs in this process, found from outside, as anybody could who means it
 * harm: by what /proc says of mappings and descriptors.
 */
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { Mapping } from '../../src/ffi/mapping.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { type Area, readSmaps } from '../../src/memory/smaps.js';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/uapi/mman.js';

export interface FoundMemory {
  readonly guestAddress: number;
  readonly bytes: number;
  readonly uffd: number;
  /** What is mapped, where that is a file or shared: a path, as long as it stays as it is. */
  readonly mapFile: string;
}

/** Of the one machine that traps missing pages now. `runGuest` has built it when it returns. */
export function findGuestMemory(): FoundMemory {
  const areas = registeredAreas();
  if (areas.length === 0) {
    throw new Error('no memory of this process is registered with userfaultfd');
  }
  // What the image lies in is not registered: the mapping begins in a block of 2 MiB before that.
  const [{ start, end: firstEnd }] = areas as [Area];
  const guestAddress = Math.floor(start / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
  const end = areas.at(-1)!.end;
  const uffd = readdirSync('/proc/self/fd').map(Number).find(isUserfaultfd)!;
  const mapFile = `/proc/self/map_files/${start.toString(16)}-${firstEnd.toString(16)}`;
  return { guestAddress, bytes: end - guestAddress, uffd, mapFile };
}

/**
 * Another mapping of the same file, in which huge pages may be; also of anonymous shared memory. The
 * caller's to close.
 */
export function mapAgain({ mapFile, bytes }: FoundMemory): Mapping {
  const fd = openSync(mapFile, 'r+');
  try {
    return Mapping.aligned(bytes, HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
  } finally {
    closeSync(fd);
  }
}

/** In the order of their addresses. */
function registeredAreas(): Area[] {
  return readSmaps().filter(({ flags }) => flags.includes('um') || flags.includes('ui'));
}

function isUserfaultfd(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[userfaultfd]';
  } catch {
    return false; // the descriptor of the listing itself
  }
}
