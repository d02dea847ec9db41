import { WINDOW_BYTES } from '../ffi/view.js';
import { NEIGHBOURS } from '../measure/counters.js';
import { MemoryChanges } from '../memory/changes.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import {
  AWAITED,
  CLAIMED,
  MAPPED,
  MISSING,
  PageStates,
  POISONED,
  poisonedBecause,
} from '../memory/page-states.js';
import type { UffdShares } from '../memory/uffd-shares.js';
import type { PageSource } from '../source/page-source.js';
import { type AroundPolicy, createAround } from './around.js';
import type { FaultTiming } from './fault-timing.js';
import { createInstaller } from './installer.js';
import { encodeReason, type MemoryErrorCause, type MemoryFailure } from './memory-error.js';
import { INSTALLED, MEMORY_ERROR, type Outcome, PRESENT, REMAPPED, RETRIED } from './outcome.js';
import { createRevisit, type Strategy } from './revisit.js';
import { createWake } from './wake.js';

export interface ResolverOptions {
  readonly memory: GuestMemoryLayout;
  readonly source: PageSource;
  readonly uffds: UffdShares | null;
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
  /** What the last MEMORY_ERROR was about. */
  readonly failure: MemoryFailure;
}

/**
 * A resolver for the calling thread: a closure, because constants captured by one stay boxed as
 * they are, where fields of an object would be boxed anew, on the heap, at every call through
 * koffi. Nothing below allocates.
 */
export function createResolver(options: ResolverOptions): Resolver {
  const { source, uffds, sleepers, counters, timing } = options;
  const { bytes, unitBytes } = options.memory;
  const states = new PageStates(options.memory.states);
  const changes = new MemoryChanges(options.memory.changes);
  const units = bytes / unitBytes;
  const unitsPerWindow = WINDOW_BYTES / unitBytes;
  const unitsPerShare = (uffds?.bytes ?? bytes) / unitBytes;
  const isVcpu = options.caller === 'vcpu';
  const continues = options.memory.backing.fill === 'continue';
  const around = createAround(options.around, unitBytes);
  const { most, wanted, brought } = around;
  const installer = createInstaller({
    memory: options.memory,
    source,
    uffds,
    wake: sleepers,
    mostUnits: 1 + most,
    counters,
    timing,
  });
  const { fill, map } = installer;

  const wake = createWake(options.memory, sleepers ? uffds : null, counters);
  const { revisit, explain, failure } = createRevisit({
    ...options,
    wake,
    installer: continues ? installer : null,
  });

  /** Ends a claim on a unit whose contents cannot be had. Whoever touches it is told the same. */
  function poison(unit: number, cause: MemoryErrorCause, error: number): Outcome {
    const reason = encodeReason(cause, error);
    publish(unit, 1, poisonedBecause(reason));
    return explain(unit, reason);
  }

  /**
   * Ends claims. UFFDIO_CONTINUE has woken who slept on the units, but one may have fallen asleep
   * since, if the kernel took the page away again at once, or nothing may have come of the claim.
   */
  function publish(first: number, count: number, word: number): void {
    let awaited = false;
    for (let unit = first; unit < first + count; unit++) {
      awaited = states.publish(unit, word) || awaited;
    }
    if (awaited) {
      wake(first, count);
    }
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
        return poison(unit, installer.failure.cause, installer.failure.errno);
    }
  }

  /** A claimed unit, and missing ones next to it as far as they are wanted and contiguous. */
  function installAround(unit: number): Outcome {
    const count = 1 + wanted(unit);
    const window = unit - (unit % unitsPerWindow);
    const share = unit - (unit % unitsPerShare);
    const lowest = Math.max(window, share);
    const highest = Math.min(units, window + unitsPerWindow, share + unitsPerShare);
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
    counters[NEIGHBOURS]! += mapped - first - (unit < mapped ? 1 : 0);
    for (let other = mapped; other < end; other++) {
      if (other === torn) {
        poison(other, installer.failure.cause, installer.failure.errno);
      } else if (other !== unit) {
        publish(other, 1, MISSING);
      }
    }
    if (unit < mapped) {
      return INSTALLED;
    }
    return unit === torn ? MEMORY_ERROR : installOne(unit);
  }

  /** A message about a unit that is mapped: older than the mapping, or its entry is gone again. */
  function revisitForSleeper(unit: number): Outcome {
    if (!continues) {
      wake(unit, 1);
      return PRESENT;
    }
    if (!states.claimMapped(unit)) {
      return RETRIED;
    }
    const sequence = changes.sequence;
    const outcome = map(unit, 1);
    if (outcome === MEMORY_ERROR && changes.disturbed(sequence)) {
      // For the moment of a collapse its block is not registered: ENOENT, and nobody sleeps on it.
      publish(unit, 1, MAPPED);
      changes.wait();
      return RETRIED;
    }
    if (outcome === MEMORY_ERROR) {
      return poison(unit, installer.failure.cause, installer.failure.errno);
    }
    states.publish(unit, MAPPED);
    if (outcome !== RETRIED) {
      wake(unit, 1);
    }
    return outcome === INSTALLED ? REMAPPED : outcome;
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
      return explain(unit, states.reasonOf(unit));
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
