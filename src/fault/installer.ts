import { constants } from 'node:os';
import { errno, ioctl, madvise, mincore } from '../ffi/libc.js';
import { ProcessMemory } from '../ffi/process-memory.js';
import { ScratchPage } from '../ffi/scratch.js';
import { WINDOW_BYTES, WindowedMemory } from '../ffi/view.js';
import { SYSCALLS } from '../measure/counters.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import type { PageSource } from '../source/page-source.js';
import { MADV_POPULATE_WRITE } from '../uapi/mman.js';
import {
  UFFDIO_CONTINUE,
  UFFDIO_CONTINUE_MODE_DONTWAKE,
  UFFDIO_COPY,
  UFFDIO_COPY_MODE_DONTWAKE,
  uffdio_continue,
  uffdio_copy,
  uffdio_range,
} from '../uapi/userfaultfd.js';
import type { FaultTiming } from './fault-timing.js';
import { INSTALLED, MEMORY_ERROR, PRESENT, RETRIED } from './outcome.js';
import { createStagedFill } from './staged-fill.js';

const { EAGAIN, EEXIST, EINTR, ENOMEM } = constants.errno;

/** What went wrong when a page could not be brought in. */
export type InstallCause = 'source' | 'allocate' | 'map';

export interface InstallerOptions {
  readonly memory: GuestMemoryLayout;
  readonly source: PageSource;
  /** The userfaultfd, or -1 where nothing is trapped and the kernel maps the pages itself. */
  readonly uffd: number;
  /** Whether threads may sleep on these pages. In exit delivery nobody does. */
  readonly wake: boolean;
  /** The most units a call is about. */
  readonly mostUnits: number;
  /** The thread's counter row. */
  readonly counters: Float64Array;
  readonly timing: FaultTiming;
}

/** Brings runs of units in. Whoever calls has claimed them. Nothing here throws or allocates. */
export interface Installer {
  /**
   * Puts the source's contents where `map` takes them from.
   *
   * @returns false if they cannot be had: see `failure`
   */
  readonly fill: (first: number, count: number) => boolean;
  /** Puts them into the guest mapping. PRESENT: all were there already. */
  readonly map: (
    first: number,
    count: number,
  ) => typeof INSTALLED | typeof PRESENT | typeof RETRIED | typeof MEMORY_ERROR;
  /**
   * What the last call that failed was about. `errno` is 0 where no call did. `mappedBytes` of the run
   * are in the guest mapping all the same: the guest may have written to them already.
   */
  readonly failure: { cause: InstallCause; errno: number; mappedBytes: number };
}

export function createInstaller(options: InstallerOptions): Installer {
  const { fill, inspect } = options.memory.backing;
  if (options.uffd === -1) {
    return inspect === 'guest' && fill === 'copy'
      ? createWritingInstaller(options)
      : createContinueInstaller(options);
  }
  return fill === 'continue' ? createContinueInstaller(options) : createCopyInstaller(options);
}

/** Filled through the alias mapping, mapped by UFFDIO_CONTINUE. */
function createContinueInstaller(options: InstallerOptions): Installer {
  const { source, uffd, counters, timing } = options;
  const { guestAddress, aliasAddress, bytes, unitBytes, backing } = options.memory;
  const windows = new WindowedMemory(aliasAddress, bytes).words;
  const unitsPerWindow = WINDOW_BYTES / unitBytes;
  const wordsPerUnit = unitBytes / 4;
  const pagesPerUnit = unitBytes / 4096;
  const stores = backing.allocate === 'store' && unitBytes === 4096;
  const failure = { cause: 'source' as InstallCause, errno: 0, mappedBytes: 0 };

  /** The kernel allocates the pages, in faults of the alias mapping. */
  function allocate(window: Int32Array, firstWord: number, first: number, count: number): number {
    if (stores && count === 1) {
      window[firstWord] = 0; // no system call, and this memory has no way to fail
      return 0;
    }
    for (;;) {
      counters[SYSCALLS]! += 1;
      const failed = madvise(
        aliasAddress + first * unitBytes,
        count * unitBytes,
        MADV_POPULATE_WRITE,
      );
      const error = failed === 0 ? 0 : errno();
      if (error !== EINTR && error !== EAGAIN) {
        return error;
      }
    }
  }

  const staged = backing.truncatable ? createStagedFill(options, failure) : null;
  return {
    failure,
    fill:
      staged ??
      ((first, count) => {
        const window = windows[(first / unitsPerWindow) | 0]!;
        const firstWord = (first % unitsPerWindow) * wordsPerUnit;
        timing.beforeAllocate();
        const error = allocate(window, firstWord, first, count);
        timing.afterAllocate();
        if (error !== 0) {
          failure.cause = 'allocate';
          failure.errno = error;
          failure.mappedBytes = 0;
          return false;
        }
        if (!source.fill(first * pagesPerUnit, window, firstWord, count * wordsPerUnit)) {
          failure.cause = 'source';
          failure.errno = 0;
          failure.mappedBytes = 0;
          return false;
        }
        return true;
      }),
    map: uffd === -1 ? () => INSTALLED : mapper(),
  };

  /** 1.4 µs for a page of 4 KiB, 0.35 µs for each of many; may take several calls. */
  function mapper(): Installer['map'] {
    const page = new ScratchPage(64);
    const argument = page.address;
    const { u32, s32 } = page;
    const { pageBytes } = backing;
    const START = uffdio_range.offset.start >> 2;
    const LENGTH = uffdio_range.offset.len >> 2;
    const RESULT = uffdio_continue.offset.mapped >> 2;
    u32[uffdio_continue.offset.mode >> 2] = options.wake ? 0 : UFFDIO_CONTINUE_MODE_DONTWAKE;
    return (first, count) => {
      const start = guestAddress + first * unitBytes;
      const length = count * unitBytes;
      let outcome: typeof INSTALLED | typeof PRESENT = PRESENT;
      for (let done = 0; done < length; ) {
        u32[START] = start + done; // a store takes a double modulo 2^32
        u32[START + 1] = (start + done) / 0x1_0000_0000;
        u32[LENGTH] = length - done;
        u32[LENGTH + 1] = 0;
        s32[RESULT] = 0; // the kernel leaves it alone when it fails early
        s32[RESULT + 1] = 0;
        counters[SYSCALLS]! += 1;
        if (ioctl(uffd, UFFDIO_CONTINUE, argument) === 0) {
          return INSTALLED;
        }
        const error = errno();
        const progress = s32[RESULT + 1]! === 0 ? s32[RESULT]! : 0; // negative errno: no progress
        if (progress > 0) {
          done += progress;
          outcome = INSTALLED;
        } else if (error === EEXIST) {
          done += pageBytes; // somebody else mapped this page
        } else if (error === EAGAIN) {
          if (done === 0) {
            return RETRIED; // the address space is changing
          } // what is mapped already must not be brought in again: go on
        } else {
          failure.cause = 'map';
          failure.errno = error;
          failure.mappedBytes = done;
          return MEMORY_ERROR;
        }
      }
      return outcome;
    };
  }
}

/** Filled in a staging buffer, allocated and mapped by UFFDIO_COPY. */
function createCopyInstaller(options: InstallerOptions): Installer {
  const { source, uffd, wake, mostUnits, counters } = options;
  const { guestAddress, unitBytes, backing } = options.memory;
  const { pageBytes } = backing;
  const pagesPerUnit = unitBytes / 4096;
  const wordsPerUnit = unitBytes / 4;
  const staging = new ScratchPage(mostUnits * unitBytes);
  const stagingAddress = staging.address;
  const words = staging.s32;
  const failure = { cause: 'source' as InstallCause, errno: 0, mappedBytes: 0 };
  const page = new ScratchPage(64);
  const argument = page.address;
  const { u32, s32 } = page;
  const TO = uffdio_copy.offset.dst >> 2;
  const FROM = uffdio_copy.offset.src >> 2;
  const LENGTH = uffdio_copy.offset.len >> 2;
  const RESULT = uffdio_copy.offset.copy >> 2;
  u32[uffdio_copy.offset.mode >> 2] = wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE;
  const vector = page.address + uffdio_copy.size;

  /** hugetlb says EEXIST also when its pool has run dry, if there is a page table (6.18). */
  function isThere(address: number): boolean {
    return (
      !backing.hugetlb ||
      (mincore(address, 4096, vector) === 0 && (page.u8[uffdio_copy.size]! & 1) === 1)
    );
  }

  return {
    failure,
    fill: (first, count) => {
      if (!source.fill(first * pagesPerUnit, words, 0, count * wordsPerUnit)) {
        failure.cause = 'source';
        failure.errno = 0;
        failure.mappedBytes = 0;
        return false;
      }
      return true;
    },
    map: (first, count) => {
      const start = guestAddress + first * unitBytes;
      const length = count * unitBytes;
      let outcome: typeof INSTALLED | typeof PRESENT = PRESENT;
      for (let done = 0; done < length; ) {
        u32[TO] = start + done;
        u32[TO + 1] = (start + done) / 0x1_0000_0000;
        u32[FROM] = stagingAddress + done;
        u32[FROM + 1] = (stagingAddress + done) / 0x1_0000_0000;
        u32[LENGTH] = length - done;
        u32[LENGTH + 1] = 0;
        s32[RESULT] = 0;
        s32[RESULT + 1] = 0;
        counters[SYSCALLS]! += 1;
        if (ioctl(uffd, UFFDIO_COPY, argument) === 0) {
          return INSTALLED;
        }
        const error = errno();
        const progress = s32[RESULT + 1]! === 0 ? s32[RESULT]! : 0;
        if (progress > 0) {
          done += progress;
          outcome = INSTALLED;
        } else if (error === EEXIST && isThere(start + done)) {
          done += pageBytes;
        } else if (error === EAGAIN) {
          if (done === 0) {
            return RETRIED;
          }
        } else {
          failure.cause = 'map';
          failure.errno = error === EEXIST ? ENOMEM : error;
          failure.mappedBytes = done;
          return MEMORY_ERROR;
        }
      }
      return outcome;
    },
  };
}

/** Nothing is trapped and there is no alias mapping: written into the guest mapping by the kernel. */
function createWritingInstaller(options: InstallerOptions): Installer {
  const { source } = options;
  const { guestAddress, unitBytes } = options.memory;
  const memory = new ProcessMemory(options.mostUnits * unitBytes);
  const failure = { cause: 'source' as InstallCause, errno: 0, mappedBytes: 0 };
  return {
    failure,
    fill: (first, count) =>
      source.fill(first * (unitBytes / 4096), memory.buffer.s32, 0, (count * unitBytes) / 4),
    map: (first, count) => {
      const error = memory.tryWrite(guestAddress + first * unitBytes, count * unitBytes);
      if (error !== 0) {
        failure.cause = 'map';
        failure.errno = error;
        return MEMORY_ERROR;
      }
      return INSTALLED;
    },
  };
}
