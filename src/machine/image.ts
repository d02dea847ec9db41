import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { scarcity, UnsupportedError, UsageError } from '../ffi/errors.js';
import type { PrivilegeLevel } from '../kvm/registers.js';
import { isBzImage, parseBzImage } from './bzimage.js';
import { isElf, parseElf } from './elf-image.js';
import { FLAT_ENTRY, GDT_ADDRESS } from './guest-physical-map.js';

/** Bytes at a guest physical address; what `data` does not cover is zero. */
export interface ImageSegment {
  readonly address: number;
  readonly data: Uint8Array;
  readonly bytes: number;
}

/** What an image of this project says about itself in its ELF note (guest-images/README.md). */
export interface ImageNote {
  readonly privilegeLevel: PrivilegeLevel;
  /** GPA of its parameter block. */
  readonly parameters: number;
  /** GPA of vCPU 0's latency histogram; 0 if it keeps none. */
  readonly histograms: number;
  /** Bytes from one vCPU's histogram to the next. */
  readonly histogramStride: number;
}

/** What there is to know of a Linux kernel, to start it. */
export interface LinuxKernel {
  /** Of a bzImage, as it goes into the zero page. Null of an ELF file, which is started by PVH. */
  readonly setupHeader: Uint8Array | null;
  /** Up to here it uses memory before it looks at the memory map. */
  readonly endAddress: number;
  readonly mostCommandLineBytes: number;
  readonly highestInitrdAddress: number;
}

/** A guest image, ready to be put into memory. */
export interface Image {
  /**
   * - `real`: 16-bit real mode, a flat image
   * - `long`: 64-bit, on tables of ours
   * - `pvh`: 32-bit protected mode without paging, as Xen starts a guest
   * - `linux`: 64-bit, by Linux' boot protocol
   * - `firmware`: 16-bit real mode, at the reset vector
   */
  readonly mode: 'real' | 'long' | 'pvh' | 'linux' | 'firmware';
  /** IP in real mode, otherwise the physical address of the first instruction. */
  readonly entry: number;
  readonly segments: readonly ImageSegment[];
  readonly note: ImageNote | null;
  /** Null of an image that is no Linux kernel. */
  readonly kernel: LinuxKernel | null;
}

/** Larger files are not read at all. */
const MAX_IMAGE_BYTES = 512 * 2 ** 20;

/**
 * Reads an image: ELF64 (of this project's kind, or PVH), bzImage, or else a flat binary (real mode,
 * loaded at 0x1000).
 *
 * @throws UsageError naming the path and what is wrong with it
 */
export function loadImage(path: string): Image {
  const file = readImage(path);
  if (isElf(file)) {
    return parseElf(file, path);
  }
  return isBzImage(file) ? parseBzImage(file, path) : flatImage(file, path);
}

/**
 * A whole file.
 *
 * @param what it is, for errors
 */
export function readImage(path: string, what = 'image'): Uint8Array {
  let fd = -1;
  try {
    // Without blocking: the open of a FIFO would wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const status = fstatSync(fd);
    if (!status.isFile()) {
      throw new UsageError(`${what} ${path} is not a regular file`);
    }
    if (status.size > MAX_IMAGE_BYTES) {
      throw new UsageError(`${what} ${path} is larger than ${MAX_IMAGE_BYTES} bytes`);
    }
    return readUpTo(fd, status.size);
  } catch (error) {
    if (error instanceof UsageError) {
      throw error;
    }
    const { code } = error as NodeJS.ErrnoException;
    const lack = scarcity(code);
    if (lack !== null) {
      throw new UnsupportedError(`${what} ${path} cannot be read (${code})`, lack, {
        cause: error,
      });
    }
    throw new UsageError(
      `${what} ${path} cannot be read (${code ?? 'unknown error'})`,
      what === 'image'
        ? 'Name a bundled guest (faultline run --list) or the path of an image.'
        : '',
      { cause: error },
    );
  } finally {
    if (fd >= 0) {
      closeSync(fd);
    }
  }
}

/**
 * No more than the file had when it was opened: files of /proc and /sys say that they are empty, and
 * some of them have no end, or wait for more.
 */
function readUpTo(fd: number, bytes: number): Uint8Array {
  const file = new Uint8Array(bytes);
  let length = 0;
  for (let read = -1; length < bytes && read !== 0; length += read) {
    read = readSync(fd, file, length, bytes - length, null);
  }
  return file.subarray(0, length);
}

function flatImage(file: Uint8Array, path: string): Image {
  const room = GDT_ADDRESS - FLAT_ENTRY;
  if (file.length === 0) {
    throw new UsageError(`image ${path} is empty`);
  }
  if (file.length > room) {
    throw new UsageError(
      `image ${path} is not ELF, and too large for a flat binary (${file.length} bytes, at most ${room})`,
    );
  }
  const segment = { address: FLAT_ENTRY, data: file, bytes: file.length };
  return { mode: 'real', entry: FLAT_ENTRY, segments: [segment], note: null, kernel: null };
}
