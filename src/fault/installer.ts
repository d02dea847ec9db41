import { constants } from 'node:os';
import { errno, madvise } from '../ffi/libc.js';
import { ProcessMemory } from '../ffi/process-memory.js';
import { ScratchPage } from '../ffi/scratch.js';
import { WINDOW_BYTES, WindowedMemory } from '../ffi/view.js';
import { SYSCALLS } from '../measure/counters.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import type { PageSource } from '../source/page-source.js';
import { MADV_POPULATE_WRITE } from '../uapi/mman.js';
import type { FaultTiming } from './fault-timing.js';
import { INSTALLED, MEMORY_ERROR, type PRESENT, type RETRIED } from './outcome.js';
import { createRangeMapper } from './range-mapper.js';
import { createStagedFill } from './staged-fill.js';

const { EAGAIN, EINTR } = constants.errno;

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

export type MapOutcome = typeof INSTALLED | typeof PRESENT | typeof RETRIED | typeof MEMORY_ERROR;

/**
 * What the last call that failed was about. `errno` is 0 where no call did. `mappedBytes` of the run
 * are in the guest mapping all the same: the guest may have written to them already.
 */
export interface InstallFailure {
  cause: InstallCause;
  errno: number;
  mappedBytes: number;
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
  readonly map: (first: number, count: number) => MapOutcome;
  readonly failure: InstallFailure;
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

/** Filled through the alias mapping, mapped by UFFDIO_CONTINUE or left to the kernel. */
function createContinueInstaller(options: InstallerOptions): Installer {
  const { memory, source, uffd, wake, counters, timing } = options;
  const { aliasAddress, bytes, unitBytes, backing } = memory;
  const windows = new WindowedMemory(aliasAddress, bytes).words;
  const unitsPerWindow = WINDOW_BYTES / unitBytes;
  const wordsPerUnit = unitBytes / 4;
  const pagesPerUnit = unitBytes / 4096;
  const stores = backing.allocate === 'store' && unitBytes === 4096;
  const failure = noFailure();

  /** The kernel allocates the pages, in faults of the alias mapping. */
  function allocate(window: Int32Array, firstWord: number, first: number, count: number): number {
    if (stores && count === 1) {
      window[firstWord] = 0; // no system call, and this memory has no way to fail
      return 0;
    }
    for (;;) {
      counters[SYSCALLS]! += 1;
      const result = madvise(
        aliasAddress + first * unitBytes,
        count * unitBytes,
        MADV_POPULATE_WRITE,
      );
      const error = result === 0 ? 0 : errno();
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
          return failed(failure, 'allocate', error);
        }
        return (
          source.fill(first * pagesPerUnit, window, firstWord, count * wordsPerUnit) ||
          failed(failure, 'source', 0)
        );
      }),
    map:
      uffd === -1
        ? () => INSTALLED
        : createRangeMapper({ memory, uffd, wake, stagingAddress: null, counters, failure }),
  };
}

/** Filled in a staging buffer, allocated and mapped by UFFDIO_COPY. */
function createCopyInstaller(options: InstallerOptions): Installer {
  const { memory, source, uffd, wake, counters } = options;
  const staging = new ScratchPage(options.mostUnits * memory.unitBytes);
  const stagingAddress = staging.address;
  const failure = noFailure();
  return {
    failure,
    fill: filler(source, staging.s32, memory.unitBytes, failure),
    map: createRangeMapper({ memory, uffd, wake, stagingAddress, counters, failure }),
  };
}

/** Nothing is trapped and there is no alias mapping: written into the guest mapping by the kernel. */
function createWritingInstaller(options: InstallerOptions): Installer {
  const { guestAddress, unitBytes } = options.memory;
  const memory = new ProcessMemory(options.mostUnits * unitBytes);
  const failure = noFailure();
  return {
    failure,
    fill: filler(options.source, memory.buffer.s32, unitBytes, failure),
    map: (first, count) => {
      const error = memory.tryWrite(guestAddress + first * unitBytes, count * unitBytes);
      if (error !== 0) {
        failed(failure, 'map', error);
        return MEMORY_ERROR;
      }
      return INSTALLED;
    },
  };
}

/** Fills the start of a buffer. */
function filler(
  source: PageSource,
  words: Int32Array,
  unitBytes: number,
  failure: InstallFailure,
): Installer['fill'] {
  const pagesPerUnit = unitBytes / 4096;
  const wordsPerUnit = unitBytes / 4;
  return (first, count) =>
    source.fill(first * pagesPerUnit, words, 0, count * wordsPerUnit) ||
    failed(failure, 'source', 0);
}

function noFailure(): InstallFailure {
  return { cause: 'source', errno: 0, mappedBytes: 0 };
}

function failed(failure: InstallFailure, cause: InstallCause, error: number): false {
  failure.cause = cause;
  failure.errno = error;
  failure.mappedBytes = 0;
  return false;
}
