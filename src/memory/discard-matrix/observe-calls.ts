import { errnoName, UnsupportedError } from '../../ffi/errors.js';
import type { CallThread } from './call-thread.js';
import { DISCARD_CALLS, type DiscardCall, makeCall } from './calls.js';
import { observePlain, type Treatment, untreated } from './experiments.js';
import type { HeldBytes } from './held-memory.js';
import { LOCKS, type Lock } from './lock.js';
import { type Note, Notes } from './notes.js';
import { type SeenByUserfaultfd, Sight } from './sight.js';
import type { Contents } from './specimen.js';
import type { Subject } from './subjects.js';

/** What one call was seen to do. Null: it could not be seen, and the notes say why. */
export interface CallObservation extends SeenByUserfaultfd {
  readonly call: DiscardCall;
  readonly lock: Lock;
  /** The name of the errno; null when the call returned 0. */
  readonly errno: string | null;
  /** Bytes that went, of a page with data and one that was never touched. */
  readonly freedBytes: HeldBytes;
  /** What the guest reads afterwards where its data was, nothing being registered. */
  readonly guestReads: Contents;
  /** What the file holds there; null for memory without an alias mapping. */
  readonly fileReads: Contents | null;
}

/** All calls on one kind of memory. */
export interface SubjectObservations {
  readonly backing: string;
  readonly description: string;
  /** Of the page with data. */
  readonly pageBytes: number;
  /** Whether mlock(2) locked the mapping; null if that was not tried. */
  readonly mlockLocks: boolean | null;
  /** Empty for memory that cannot be had. */
  readonly calls: readonly CallObservation[];
  readonly notes: readonly Note[];
}

/** Tries every call on one kind of memory. What this host lacks becomes a note. */
export function observeCalls(subject: Subject, thread: CallThread): SubjectObservations {
  const { name: backing, description, pageBytes } = subject;
  const notes = new Notes();
  const calls: CallObservation[] = [];
  let mlockLocks: boolean | null = null;
  for (const lock of LOCKS) {
    const what = lock === 'mapped' ? 'this memory' : 'mlock';
    const control = notes.attempt(what, () => observePlain(subject, lock, untreated));
    if (control === null) {
      break; // memory that cannot be had cannot be locked either
    }
    if (lock === 'mlocked') {
      mlockLocks = control.locked;
    }
    const sight = new Sight(subject, lock, notes);
    for (const call of DISCARD_CALLS) {
      const observation = notes.attempt(call, () => observeCall(call, sight, thread));
      if (observation !== null) {
        calls.push(observation);
      }
    }
  }
  return { backing, description, pageBytes, mlockLocks, calls, notes: notes.all };
}

function observeCall(call: DiscardCall, sight: Sight, thread: CallThread): CallObservation {
  const { subject, lock } = sight;
  const treat: Treatment = ({ target }) => {
    if (call === 'PUNCH_HOLE' && target.fd < 0) {
      throw new UnsupportedError('there is no file descriptor to make it on');
    }
    return makeCall(call, target);
  };
  const { errno, freed, guestReads, fileReads } = observePlain(subject, lock, treat);
  return {
    call,
    lock,
    errno: errno === 0 ? null : errnoName(errno),
    freedBytes: freed,
    guestReads,
    fileReads,
    ...sight.look(call, treat, thread),
  };
}
