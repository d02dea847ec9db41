import { constants } from 'node:os';
import { errno, ioctl, madvise } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { WINDOW_BYTES } from '../ffi/view.js';
import { NEIGHBOURS, SYSCALLS } from '../measure/counters.js';
import { MemoryChanges } from '../memory/changes.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { AWAITED, CLAIMED, MAPPED, MISSING, PageStates, POISONED } from '../memory/page-states.js';
import type { PageSource } from '../source/page-source.js';
import { MADV_POPULATE_WRITE } from '../uapi/mman.js';
import { UFFDIO_WAKE, uffdio_range } from '../uapi/userfaultfd.js';
import { type AroundPolicy, createAround } from './around.js';
import type { FaultTiming } from './fault-timing.js';
import { createInstaller, type InstallCause } from './installer.js';
import {
  INSTALLED,
  MEMORY_ERROR,
  type Outcome,
  POPULATED,
  PRESENT,
  REMAPPED,
  RETRIED,
} from './outcome.js';

const { EAGAIN, EINTR } = constants.errno;

/** More pages than one instruction can need. */
const REVISITED_UNITS = 8;

/**
 * What an exit means on a page that we have continued already (seed 003): under `no-slow-gup` the
 * kernel took it away again (swap, migration) and MADV_POPULATE_WRITE brings it back; under
 * `no-uffd-wait` the kernel has tried that itself, so it is a memory error.
 */
export type Strategy = 'no-slow-gup' | 'no-uffd-wait';

/** Why a page's contents cannot be had. */
export type MemoryErrorCause = InstallCause | 'populate' | 'repeated' | 'poisoned';

export interface ResolverOptions {
  readonly memory: GuestMemoryLayout;
  readonly source: PageSource;
  readonly uffd: number;
  readonly strategy: Strategy;
  readonly around: AroundPolicy;
  /**
   * Who calls: a vCPU's own thread; a handler for vCPUs that sleep in the kernel; or a thread that
   * brings pages in before they are asked for, and must wake who sleeps if `sleepers` says so.
   */
  readonly caller: 'vcpu' | 'handler' | 'prefetch';
  /** Whether vCPUs sleep on missing pages: handler delivery. */
  readonly sleepers: boolean;
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
  const { source, uffd, strategy, sleepers, counters, timing } = options;
  const { guestAddress, bytes, unitBytes } = options.memory;
  const states = new PageStates(options.memory.states);
  const changes = new MemoryChanges(options.memory.changes);
  const units = bytes / unitBytes;
  const unitsPerWindow = WINDOW_BYTES / unitBytes;
  const isVcpu = options.caller === 'vcpu';
  const continues = options.memory.backing.fill === 'continue';
  const around = createAround(options.around, unitBytes);
  const { most, wanted, brought } = around;
  const installer = createInstaller({
    memory: options.memory,
    source,
    uffd,
    wake: sleepers,
    mostUnits: 1 + most,
    counters,
    timing,
  });
  const { fill, map } = installer;

  const page = new ScratchPage(64);
  const argument = page.address;
  const { u32 } = page;
  const START = uffdio_range.offset.start >> 2;
  const LENGTH = uffdio_range.offset.len >> 2;

  const failure = { unit: -1, cause: 'source' as MemoryErrorCause, errno: 0 };
  /**
   * The units this thread last found mapped, in a ring: one instruction can need several pages, and
   * its exits then come in turn. With each, the change of memory that it was found after.
   */
  const revisited = new Int32Array(REVISITED_UNITS).fill(-1);
  const revisitedAfter = new Int32Array(REVISITED_UNITS);
  let revisits = 0;

  function fail(unit: number, cause: MemoryErrorCause, error: number): Outcome {
    failure.unit = unit;
    failure.cause = cause;
    failure.errno = error;
    return MEMORY_ERROR;
  }

  /**
   * Ends claims. UFFDIO_CONTINUE has woken who slept on the units, but one may have fallen asleep
   * since, if the kernel took the page away again at once, or nothing may have come of the claim.
   */
  function publish(
    first: number,
    count: number,
    state: typeof MAPPED | typeof MISSING | typeof POISONED,
  ): void {
    let awaited = false;
    for (let unit = first; unit < first + count; unit++) {
      awaited = states.publish(unit, state) || awaited;
    }
    if (awaited && sleepers) {
      wake(first, count);
    }
  }

  /** Whoever sleeps on these units looks at them again. */
  function wake(first: number, count: number): void {
    const start = guestAddress + first * unitBytes;
    const length = count * unitBytes;
    u32[START] = start; // a store takes a double modulo 2^32
    u32[START + 1] = start / 0x1_0000_0000;
    u32[LENGTH] = length;
    u32[LENGTH + 1] = length / 0x1_0000_0000;
    counters[SYSCALLS]! += 1;
    ioctl(uffd, UFFDIO_WAKE, argument);
  }

  /** Brings in claimed units. A failure of the source is the caller's to publish. */
  function install(first: number, count: number): Outcome {
    if (!fill(first, count)) {
      return MEMORY_ERROR;
    }
    timing.beforeContinue();
    const outcome = map(first, count);
    timing.afterContinue();
    return outcome;
  }

  /** A claimed unit and no other. */
  function installOne(unit: number): Outcome {
    const outcome = install(unit, 1);
    switch (outcome) {
      case INSTALLED:
      case PRESENT:
        publish(unit, 1, MAPPED);
        return outcome;
      case RETRIED:
        publish(unit, 1, MISSING);
        return outcome;
      default:
        publish(unit, 1, POISONED);
        return fail(unit, installer.failure.cause, installer.failure.errno);
    }
  }

  /** A claimed unit, and missing ones next to it as far as they are wanted and contiguous. */
  function installAround(unit: number): Outcome {
    const count = 1 + wanted(unit);
    const lowest = unit - (unit % unitsPerWindow);
    const highest = Math.min(units, lowest + unitsPerWindow);
    let first = unit;
    let end = unit + 1;
    while (end - first < count && end < highest && states.claim(end) === MISSING) {
      end++;
    }
    while (end - first < count && first > lowest && states.claim(first - 1) === MISSING) {
      first--;
    }
    brought(first, end - first);
    if (end - first === 1) {
      return installOne(unit);
    }
    const outcome = install(first, end - first);
    if (outcome === INSTALLED || outcome === PRESENT) {
      publish(first, end - first, MAPPED);
      counters[NEIGHBOURS]! += end - first - 1;
      return outcome;
    }
    return settleRun(first, end, unit, outcome === RETRIED ? 0 : installer.failure.mappedBytes);
  }

  /**
   * A run that failed, or was to be tried again. What is mapped stays: the guest may have written to
   * it. Of the rest only what was asked for is insisted on.
   */
  function settleRun(first: number, end: number, unit: number, mappedBytes: number): Outcome {
    const mapped = first + Math.floor(mappedBytes / unitBytes);
    const torn = mappedBytes % unitBytes === 0 ? -1 : mapped; // in part there, in part not to be had
    publish(first, mapped - first, MAPPED);
    for (let other = mapped; other < end; other++) {
      if (other !== unit) {
        publish(other, 1, other === torn ? POISONED : MISSING);
      }
    }
    if (unit < mapped) {
      return INSTALLED;
    }
    if (unit === torn) {
      publish(unit, 1, POISONED);
      return fail(unit, installer.failure.cause, installer.failure.errno);
    }
    return installOne(unit);
  }

  /** A message about a unit that is mapped: older than the mapping, or its entry is gone again. */
  function revisitForSleeper(unit: number): Outcome {
    let outcome: Outcome = PRESENT;
    if (continues) {
      if (!states.claimMapped(unit)) {
        return RETRIED;
      }
      const mapped = map(unit, 1);
      states.publish(unit, MAPPED);
      if (mapped === MEMORY_ERROR) {
        // Its file has lost the page (cut short by another process): the sleeper would ask for ever.
        return fail(unit, installer.failure.cause, installer.failure.errno);
      }
      outcome = mapped === INSTALLED ? REMAPPED : PRESENT;
    }
    wake(unit, 1);
    return outcome;
  }

  /**
   * An exit for a page that is mapped. The first only lost a race: another thread mapped the page
   * between the exit and the claim. If it comes again, and not because memory was changed meanwhile,
   * the kernel cannot reach the page.
   */
  function revisit(unit: number): Outcome {
    const sequence = changes.sequence;
    const slot = revisited.indexOf(unit);
    if (slot < 0 || revisitedAfter[slot] !== sequence) {
      const free = slot < 0 ? revisits : slot;
      revisited[free] = unit;
      revisitedAfter[free] = sequence;
      revisits = slot < 0 ? (revisits + 1) % REVISITED_UNITS : revisits;
      return PRESENT;
    }
    if (strategy === 'no-uffd-wait') {
      return fail(unit, 'repeated', 0);
    }
    if (!states.claimMapped(unit)) {
      return RETRIED; // being discarded
    }
    counters[SYSCALLS]! += 1;
    const failed = madvise(guestAddress + unit * unitBytes, unitBytes, MADV_POPULATE_WRITE);
    const error = failed === 0 ? 0 : errno();
    states.publish(unit, MAPPED);
    if (error === 0) {
      return POPULATED;
    }
    return error === EINTR || error === EAGAIN ? RETRIED : fail(unit, 'populate', error);
  }

  function resolve(unit: number): Outcome {
    const state = states.claim(unit);
    if (state === MISSING) {
      return most === 0 ? installOne(unit) : installAround(unit);
    }
    if (state === MAPPED) {
      return isVcpu ? revisit(unit) : revisitForSleeper(unit);
    }
    if (state === POISONED) {
      return fail(unit, 'poisoned', 0);
    }
    if (options.caller === 'prefetch') {
      return PRESENT;
    }
    if (!isVcpu) {
      // The claimant wakes who sleeps on it when it is done, if it knows that somebody does.
      return states.markAwaited(unit) ? PRESENT : RETRIED;
    }
    states.wait(unit);
    const now = states.stateOf(unit);
    return now === CLAIMED || now === AWAITED ? RETRIED : PRESENT;
  }

  return { resolve, failure };
}
