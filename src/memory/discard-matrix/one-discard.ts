import { constants } from 'node:os';
import { DefectError, SyscallError, UnsupportedError } from '../../ffi/errors.js';
import { errno, madvise } from '../../ffi/libc.js';
import { ResourceStack } from '../../ffi/resource-stack.js';
import { ScratchPage } from '../../ffi/scratch.js';
import { MADV_POPULATE_READ, MADV_POPULATE_WRITE } from '../../uapi/mman.js';
import type { Userfaultfd } from '../../uffd/userfaultfd.js';
import type { DiscardStep } from '../backing.js';
import { createDiscard, type Discard } from '../discard.js';
import { GuestMemory } from '../guest-memory.js';
import { MAPPED, MISSING } from '../page-states.js';
import { trapMissing } from '../trap.js';
import { freedBytes, type HeldBytes, heldBytes } from './held-memory.js';
import { LOCKS, type Lock, lockOnFault } from './lock.js';
import { type Note, Notes } from './notes.js';
import { StampedPages } from './stamped-pages.js';
import type { Subject } from './subjects.js';

/** What `discard()` was seen to do to one fault unit of guest memory that is trapped by markers. */
export interface DiscardObservation {
  readonly lock: Lock;
  /** The fault unit: how much was discarded. */
  readonly unitBytes: number;
  /** Those of the backing, in their order. */
  readonly steps: readonly DiscardStep[];
  readonly freedBytes: HeldBytes;
  /** Whether the next touch of the unit faults. */
  readonly nextTouchFaults: boolean;
  /** Whether that is by a trap marker, which gives KVM an address. */
  readonly markerRearmed: boolean;
  /** Whether the unit, brought in again, has the source's contents and not what the guest wrote. */
  readonly contentsReturn: boolean;
  /** Whether the unit next to it still has its own. */
  readonly neighbourKept: boolean;
}

export interface SubjectDiscards {
  readonly backing: string;
  readonly observations: readonly DiscardObservation[];
  readonly notes: readonly Note[];
}

/** Tries discard() on one kind of memory: of its smallest unit, and of a huge page where it has those. */
export function observeDiscard(subject: Subject): SubjectDiscards {
  const notes = new Notes();
  const observations: DiscardObservation[] = [];
  for (const lock of LOCKS) {
    for (const unitBytes of notes.attempt('discard', () => unitsOf(subject)) ?? []) {
      const observation = notes.attempt('discard', () => discardOnce(subject, lock, unitBytes));
      if (observation !== null) {
        observations.push(observation);
      }
    }
  }
  return { backing: subject.name, observations, notes: notes.all };
}

function unitsOf(subject: Subject): readonly number[] {
  return [...new Set([subject.backing().pageBytes, subject.pageBytes])];
}

function discardOnce(subject: Subject, lock: Lock, unitBytes: number): DiscardObservation {
  using trial = new Trial(subject, unitBytes);
  const { memory, pages } = trial;
  if (memory.backing.uffdModes === 0) {
    throw refusal(() => trial.discard(0, unitBytes));
  }
  const { guestAddress, backing } = memory.layout;
  trial.bringIn(0);
  trial.bringIn(1);
  pages.stamp(guestAddress, GUEST_WROTE);
  if (lock === 'mlocked') {
    lockOnFault(guestAddress, memory.layout.bytes);
  }
  const before = heldBytes(memory);
  trial.discard(0, unitBytes);
  const freed = freedBytes(before, heldBytes(memory));
  const nextTouchFaults = pages.touch(guestAddress) === constants.errno.EFAULT;
  const failed = madvise(guestAddress, unitBytes, MADV_POPULATE_READ) < 0;
  const markerRearmed = failed && errno() === EHWPOISON;
  trial.bringIn(0);
  return {
    lock,
    unitBytes,
    steps: backing.discard,
    freedBytes: freed,
    nextTouchFaults,
    markerRearmed,
    contentsReturn: pages.stampOf(guestAddress) === sourceByte(0),
    neighbourKept: pages.stampOf(guestAddress + unitBytes) === sourceByte(1),
  };
}

/** What discard() says of memory that is not trapped. */
function refusal(discard: () => void): Error {
  try {
    discard();
  } catch (error) {
    // Without its hint, for no delivery traps what userfaultfd does not take.
    return error instanceof UnsupportedError
      ? new UnsupportedError(error.message)
      : (error as Error);
  }
  return new DefectError('discard() went on without a userfaultfd');
}

const EHWPOISON = 133; // absent from node:os
const GUEST_WROTE = 0x67;

/** What the source supplies for a unit. */
function sourceByte(unit: number): number {
  return 0x73 + unit;
}

/** Guest memory in which every page is missing and marked, as a machine has it in exit delivery. */
class Trial implements Disposable {
  readonly memory: GuestMemory;
  readonly pages: StampedPages;
  readonly discard: Discard;
  /** Null where userfaultfd does not take the memory. */
  readonly uffd: Userfaultfd | null;
  private readonly owned: ResourceStack;

  constructor(subject: Subject, unitBytes: number) {
    using stack = new ResourceStack();
    const bytes = 2 * Math.max(unitBytes, subject.pageBytes);
    this.memory = stack.use(GuestMemory.create(subject.backing(), bytes, unitBytes));
    const trapped = this.memory.backing.uffdModes === 0 ? null : trapMissing(this.memory, true);
    this.uffd = trapped === null ? null : stack.use(trapped.uffds[0]!);
    this.pages = new StampedPages(unitBytes);
    this.discard = createDiscard({
      memory: this.memory.layout,
      trap: trapped?.trap ?? null,
      stopping: () => false,
      bringIn: () => false, // for partial units only
    });
    this.owned = stack.move();
  }

  /** Installs a missing unit with the source's contents. */
  bringIn(unit: number): void {
    const { memory, uffd } = this;
    const { guestAddress, aliasAddress, unitBytes, backing } = memory.layout;
    const offset = unit * unitBytes;
    if (uffd === null || memory.states.claim(unit) !== MISSING) {
      throw new DefectError(`fault unit ${unit} is not to be brought in`);
    }
    if (backing.fill === 'copy') {
      const staging = new ScratchPage(unitBytes);
      staging.u8.fill(sourceByte(unit));
      uffd.copy(guestAddress + offset, staging.address, unitBytes);
    } else {
      if (madvise(aliasAddress + offset, unitBytes, MADV_POPULATE_WRITE) < 0) {
        throw new SyscallError('madvise(MADV_POPULATE_WRITE)', errno());
      }
      this.pages.stamp(aliasAddress + offset, sourceByte(unit));
      uffd.continueRange(guestAddress + offset, unitBytes, backing.pageBytes);
    }
    memory.states.publish(unit, MAPPED);
  }

  close(): void {
    this.owned.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
