import { constants } from 'node:os';
import { errno, madvise } from '../ffi/libc.js';
import { SYSCALLS } from '../measure/counters.js';
import { MemoryChanges } from '../memory/changes.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { lookAtEntries } from '../memory/page-entries.js';
import { MAPPED, PageStates, POISONED, poisonedBecause } from '../memory/page-states.js';
import { isResident } from '../memory/resident-units.js';
import { MADV_POPULATE_WRITE } from '../uapi/mman.js';
import type { Installer } from './installer.js';
import { causeOf, encodeReason, errnoOf, type MemoryFailure } from './memory-error.js';
import {
  INSTALLED,
  MEMORY_ERROR,
  type Outcome,
  POPULATED,
  PRESENT,
  REMAPPED,
  RETRIED,
} from './outcome.js';
import type { Resolver } from './resolver.js';
import type { Wake } from './wake.js';

const { EAGAIN, EFAULT, EINTR } = constants.errno;

/** More pages than one instruction can need. */
const REVISITED_UNITS = 8;
/** Nobody loses more races for one page, each to a vCPU that continued it. */
const LOST_RACES = 8;

/**
 * What an exit means on a page that we have continued already (seed 003): under `no-slow-gup` the
 * kernel took it away again (swap, migration) and MADV_POPULATE_WRITE brings it back; under
 * `no-uffd-wait` the kernel has tried that itself, so it is a memory error; of shmem only when it has
 * an entry each time, for a lost one is a userfault like the first.
 */
export type Strategy = 'no-slow-gup' | 'no-uffd-wait';

export interface RevisitOptions {
  readonly memory: GuestMemoryLayout;
  readonly strategy: Strategy;
  /** Whether a touch of guest memory may sleep: where its userfaultfd has no UFFD_FEATURE_SIGBUS. */
  readonly sleepers: boolean;
  /** The thread's counter row. */
  readonly counters: Float64Array;
  /** For those who fell asleep on a unit while it was claimed here. */
  readonly wake: Wake;
  /** Continues a page again; null where that is not how pages are mapped, or not this thread's to do. */
  readonly installer: Pick<Installer, 'map' | 'failure'> | null;
}

/** What a vCPU's exits mean where there is nothing to bring in. Allocates nothing. */
export interface Revisit {
  /**
   * An exit for a page that is mapped. The first only lost a race: another thread mapped the page
   * between the exit and the claim. If it comes again, and not because memory was changed meanwhile,
   * the kernel cannot reach the page.
   */
  readonly revisit: (unit: number) => Outcome;
  /** Says in `failure` why a unit is poisoned; `reason` is -1 for one that is not any more. */
  readonly explain: (unit: number, reason: number) => typeof MEMORY_ERROR | typeof RETRIED;
  /** What the last MEMORY_ERROR was about. */
  readonly failure: MemoryFailure;
}

export function createRevisit({
  memory,
  strategy,
  sleepers,
  counters,
  wake,
  installer,
}: RevisitOptions): Revisit {
  const { guestAddress, unitBytes, backing } = memory;
  const states = new PageStates(memory.states);
  const changes = new MemoryChanges(memory.changes);
  const failure: MemoryFailure = { unit: -1, cause: 'source', errno: 0 };
  /**
   * The units this thread last found mapped, in a ring: one instruction can need several pages, and
   * its exits then come in turn. With each, the change of memory that it was found after.
   */
  const revisited = new Int32Array(REVISITED_UNITS).fill(-1);
  const revisitedAfter = new Int32Array(REVISITED_UNITS);
  /** And how often UFFDIO_CONTINUE has then said that there is an entry. */
  const hadEntry = new Uint8Array(REVISITED_UNITS);
  let revisits = 0;

  function explain(unit: number, reason: number): typeof MEMORY_ERROR | typeof RETRIED {
    if (reason < 0) {
      return RETRIED;
    }
    failure.unit = unit;
    failure.cause = causeOf(reason);
    failure.errno = errnoOf(reason);
    return MEMORY_ERROR;
  }

  function publish(unit: number, word: number): void {
    if (states.publish(unit, word)) {
      wake(unit, 1);
    }
  }

  function poison(unit: number, reason: number): Outcome {
    publish(unit, poisonedBecause(reason));
    return explain(unit, reason);
  }

  function revisit(unit: number): Outcome {
    const sequence = changes.sequence;
    const slot = revisited.indexOf(unit);
    if (slot < 0 || revisitedAfter[slot] !== sequence) {
      const free = slot < 0 ? revisits : slot;
      revisited[free] = unit;
      revisitedAfter[free] = sequence;
      hadEntry[free] = 0;
      revisits = slot < 0 ? (revisits + 1) % REVISITED_UNITS : revisits;
      return PRESENT;
    }
    if (!states.claimMapped(unit)) {
      return RETRIED; // being discarded
    }
    // What is resident is not registered: a touch of it cannot sleep, and UFFDIO_CONTINUE says ENOENT.
    if (sleepers && installer !== null && !isResident(memory, unit)) {
      const outcome = continueAgain(unit, installer, sequence);
      if (outcome !== PRESENT) {
        revisited[slot] = -1; // the next exit for it is a first one
        return outcome;
      }
      if (strategy === 'no-uffd-wait' && hadEntry[slot]! < LOST_RACES) {
        // Another vCPU that left for the same lost entry may have continued it since this exit.
        hadEntry[slot]! += 1;
        publish(unit, MAPPED);
        return PRESENT;
      }
    }
    return strategy === 'no-uffd-wait' ? poison(unit, encodeReason('repeated', 0)) : populate(unit);
  }

  /**
   * Of shmem the kernel may drop an entry, or swap the page out, which leaves none: a minor fault, on
   * which MADV_POPULATE_WRITE would sleep. UFFDIO_CONTINUE maps it again. PRESENT: there is an entry.
   */
  function continueAgain(
    unit: number,
    { map, failure: mapFailure }: Pick<Installer, 'map' | 'failure'>,
    sequence: number,
  ): Outcome {
    const outcome = map(unit, 1);
    if (outcome === PRESENT) {
      return PRESENT;
    }
    if (outcome === MEMORY_ERROR && !changes.disturbed(sequence)) {
      return poison(unit, encodeReason(mapFailure.cause, mapFailure.errno));
    }
    publish(unit, MAPPED);
    return outcome === INSTALLED ? REMAPPED : RETRIED;
  }

  /** A claimed unit that has an entry, which fast GUP refuses. */
  function populate(unit: number): Outcome {
    const address = guestAddress + unit * unitBytes;
    if (sleepers) {
      const entries = lookAtEntries(address, unitBytes);
      if (entries === 'protected') {
        return poison(unit, encodeReason('protected', 0)); // the call would sleep on it
      }
      if (entries === 'absent' && backing.fill === 'copy') {
        return poison(unit, encodeReason('populate', EFAULT)); // somebody else threw it away: likewise
      }
      // Should the entry go now, the call sleeps, and the handler must find that the unit is nobody's.
      publish(unit, MAPPED);
    }
    counters[SYSCALLS]! += 1;
    const failed = madvise(address, unitBytes, MADV_POPULATE_WRITE);
    const error = failed === 0 ? 0 : errno();
    if (sleepers && !states.claimMapped(unit)) {
      return RETRIED;
    }
    if (error !== 0 && error !== EINTR && error !== EAGAIN) {
      return poison(unit, encodeReason('populate', error));
    }
    publish(unit, MAPPED);
    return error === 0 ? POPULATED : RETRIED;
  }

  return { revisit, explain, failure };
}

/**
 * For a vCPU whose faults other threads resolve, or the kernel: what reaches it is memory that
 * failed, or a page that somebody is bringing in just now.
 */
export function createBystander(options: Omit<RevisitOptions, 'installer'>): Resolver {
  const { revisit, explain, failure } = createRevisit({ ...options, installer: null });
  const states = new PageStates(options.memory.states);
  return {
    failure,
    resolve: (unit) => {
      switch (states.stateOf(unit)) {
        case MAPPED:
          return revisit(unit);
        case POISONED:
          return explain(unit, states.reasonOf(unit));
        default:
          return RETRIED;
      }
    },
  };
}
