import { constants } from 'node:os';
import { errno, ioctl, madvise } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { WINDOW_BYTES, WindowedMemory } from '../ffi/view.js';
import { SYSCALLS } from '../measure/counters.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { AWAITED, CLAIMED, MAPPED, MISSING, PageStates, POISONED } from '../memory/page-states.js';
import { type PageSource, WORDS_PER_PAGE } from '../source/page-source.js';
import { MADV_POPULATE_WRITE } from '../uapi/mman.js';
import {
  UFFDIO_CONTINUE,
  UFFDIO_CONTINUE_MODE_DONTWAKE,
  UFFDIO_WAKE,
  uffdio_continue,
  uffdio_range,
} from '../uapi/userfaultfd.js';
import type { FaultTiming } from './fault-timing.js';
import { INSTALLED, MEMORY_ERROR, type Outcome, POPULATED, PRESENT, RETRIED } from './outcome.js';

const { EAGAIN, EEXIST, EINTR } = constants.errno;

/** More pages than one instruction can need. */
const REVISITED_UNITS = 8;

/**
 * What an exit means on a page that we have continued already (seed 003): under `no-slow-gup` the
 * kernel took it away again (swap, migration) and MADV_POPULATE_WRITE brings it back; under
 * `no-uffd-wait` the kernel has tried that itself, so it is a memory error.
 */
export type Strategy = 'no-slow-gup' | 'no-uffd-wait';

/** Why a page's contents cannot be had. */
export type MemoryErrorCause = 'source' | 'continue' | 'populate' | 'repeated' | 'poisoned';

export interface ResolverOptions {
  readonly memory: GuestMemoryLayout;
  readonly source: PageSource;
  readonly uffd: number;
  readonly strategy: Strategy;
  /** Who calls: a vCPU's own thread, or a handler for vCPUs that sleep in the kernel. */
  readonly caller: 'vcpu' | 'handler';
  /** The thread's counter row. */
  readonly counters: Float64Array;
  readonly timing: FaultTiming;
}

/** The one place that decides what to do about a missing page. */
export interface Resolver {
  /** Resolves the fault unit of this number. Never throws. */
  readonly resolve: (unit: number) => Outcome;
  /** What the last MEMORY_ERROR was about. `errno` is 0 where no call failed. */
  readonly failure: { unit: number; cause: MemoryErrorCause; errno: number };
}

/**
 * A resolver for the calling thread: a closure, because constants captured by one stay boxed as
 * they are, where fields of an object would be boxed anew, on the heap, at every call through
 * koffi. Nothing below allocates.
 */
export function createResolver(options: ResolverOptions): Resolver {
  const { source, uffd, strategy, counters, timing } = options;
  const { guestAddress, aliasAddress, bytes, unitBytes } = options.memory;
  const states = new PageStates(options.memory.states);
  const windows = new WindowedMemory(aliasAddress, bytes).words;
  const unitsPerWindow = WINDOW_BYTES / unitBytes;
  const wordsPerUnit = unitBytes / 4;
  const pagesPerUnit = unitBytes / 4096;
  const isVcpu = options.caller === 'vcpu';

  const page = new ScratchPage();
  const argument = page.address;
  const { u32, s32 } = page;
  const START = uffdio_range.offset.start >> 2;
  const LENGTH = uffdio_range.offset.len >> 2;
  const MODE = uffdio_continue.offset.mode >> 2;
  const RESULT = uffdio_continue.offset.mapped >> 2;
  // In exit delivery nobody sleeps, so nobody has to be looked for.
  u32[MODE] = isVcpu ? UFFDIO_CONTINUE_MODE_DONTWAKE : 0;

  const failure = { unit: -1, cause: 'source' as MemoryErrorCause, errno: 0 };
  /**
   * The units this thread last found mapped, in a ring: one instruction can need several pages, and
   * its exits then come in turn.
   */
  const revisited = new Int32Array(REVISITED_UNITS).fill(-1);
  let revisits = 0;

  function fail(unit: number, cause: MemoryErrorCause, error: number): Outcome {
    failure.unit = unit;
    failure.cause = cause;
    failure.errno = error;
    return MEMORY_ERROR;
  }

  function setRange(start: number, length: number): void {
    u32[START] = start; // a store takes a double modulo 2^32
    u32[START + 1] = start / 0x1_0000_0000;
    u32[LENGTH] = length;
    u32[LENGTH + 1] = 0;
  }

  function install(unit: number): Outcome {
    const window = windows[(unit / unitsPerWindow) | 0]!;
    const firstWord = (unit % unitsPerWindow) * wordsPerUnit;
    timing.beforeAllocate();
    for (let word = firstWord; word < firstWord + wordsPerUnit; word += WORDS_PER_PAGE) {
      window[word] = 0; // the kernel allocates the page here, in a fault of the alias mapping
    }
    timing.afterAllocate();
    if (!source.fill(unit * pagesPerUnit, window, firstWord, wordsPerUnit)) {
      states.publish(unit, POISONED);
      return fail(unit, 'source', 0);
    }
    timing.beforeContinue();
    const outcome = continueUnit(unit);
    timing.afterContinue();
    switch (outcome) {
      case INSTALLED:
      case PRESENT:
        states.publish(unit, MAPPED);
        break;
      case RETRIED:
        states.publish(unit, MISSING);
        break;
      default:
        states.publish(unit, POISONED);
    }
    return outcome;
  }

  /** 1.4 µs for a page of 4 KiB; a unit of many pages may take several calls. */
  function continueUnit(unit: number): Outcome {
    let outcome: Outcome = PRESENT;
    for (let done = 0; done < unitBytes; ) {
      setRange(guestAddress + unit * unitBytes + done, unitBytes - done);
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
        done += 4096; // somebody else mapped this page of the unit
      } else if (error === EAGAIN) {
        return RETRIED; // the address space is changing; pages done so far will say EEXIST
      } else {
        return fail(unit, 'continue', error);
      }
    }
    return outcome;
  }

  /**
   * An exit for a page that is mapped. The first only lost a race: another thread mapped the page
   * between the exit and the claim. If it comes again, the kernel cannot reach the page.
   */
  function revisit(unit: number): Outcome {
    if (!isVcpu) {
      setRange(guestAddress + unit * unitBytes, unitBytes);
      counters[SYSCALLS]! += 1;
      ioctl(uffd, UFFDIO_WAKE, argument); // the message may be younger than the CONTINUE
      return PRESENT;
    }
    if (!revisited.includes(unit)) {
      revisited[revisits] = unit;
      revisits = (revisits + 1) % REVISITED_UNITS;
      return PRESENT;
    }
    if (strategy === 'no-uffd-wait') {
      return fail(unit, 'repeated', 0);
    }
    counters[SYSCALLS]! += 1;
    if (madvise(guestAddress + unit * unitBytes, unitBytes, MADV_POPULATE_WRITE) === 0) {
      return POPULATED;
    }
    const error = errno();
    return error === EINTR || error === EAGAIN ? RETRIED : fail(unit, 'populate', error);
  }

  function resolve(unit: number): Outcome {
    const state = states.claim(unit);
    if (state === MISSING) {
      return install(unit);
    }
    if (state === MAPPED) {
      return revisit(unit);
    }
    if (state === POISONED) {
      return fail(unit, 'poisoned', 0);
    }
    if (!isVcpu) {
      return PRESENT; // the claimant's CONTINUE wakes every sleeper of the page
    }
    states.wait(unit);
    const now = states.stateOf(unit);
    return now === CLAIMED || now === AWAITED ? RETRIED : PRESENT;
  }

  return { resolve, failure };
}
