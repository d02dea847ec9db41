/**
 * The state of every fault unit, one 32-bit word each in shared memory, changed by compare-and-swap.
 *
 * ```
 *  MISSING --claim--> CLAIMED --publish--> MAPPED | POISONED | MISSING (given back, discarded)
 *                        | somebody waits
 *                        v
 *                     AWAITED --publish and notify--> the same
 * ```
 */
export const MISSING = 0;
/** One thread is bringing the unit in. */
export const CLAIMED = 1;
/** Claimed, and at least one other thread sleeps until it is published. */
export const AWAITED = 2;
/** In the guest mapping, with the source's contents. */
export const MAPPED = 3;
/** Its contents cannot be had; a guest that touches it gets a memory error. */
export const POISONED = 4;

/** The state is in the low byte of a unit's word; above it is, of a poisoned one, the reason. */
const STATE_MASK = 0xff;
const REASON_SHIFT = 8;

export type PageState =
  | typeof MISSING
  | typeof CLAIMED
  | typeof AWAITED
  | typeof MAPPED
  | typeof POISONED;

/** The word of a poisoned unit. `reason` is a number below 2^24, which nothing here looks into. */
export function poisonedBecause(reason: number): number {
  return POISONED | (reason << REASON_SHIFT);
}

/** The state that a word says. */
export function stateOfWord(word: number): PageState {
  return (word & STATE_MASK) as PageState;
}

/** A waiter wakes this often to see whether the machine is stopping, should a claimant die. */
const WAIT_SLICE_MILLISECONDS = 20;

/** The states as one thread sees them. No call here allocates or makes a system call, but `wait`. */
export class PageStates {
  readonly words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  /** Shared memory for `units` units, all missing. */
  static allocate(units: number): SharedArrayBuffer {
    return new SharedArrayBuffer(units * 4);
  }

  /** MISSING if the unit is now the caller's to bring in, else the state it is in. */
  claim(unit: number): PageState {
    return stateOfWord(Atomics.compareExchange(this.words, unit, MISSING, CLAIMED));
  }

  /** The same of a unit that is mapped; false if it is not, or not any more. */
  claimMapped(unit: number): boolean {
    return Atomics.compareExchange(this.words, unit, MAPPED, CLAIMED) === MAPPED;
  }

  /**
   * Claims the unit whatever state it is in, once nobody else holds a claim.
   *
   * @param stopping asked now and then while it waits; true gives up
   * @returns the word it had, to `publish` if the unit is to be as it was; null if it gave up
   */
  seize(unit: number, stopping: () => boolean): number | null {
    for (;;) {
      const word = Atomics.load(this.words, unit);
      if (word === CLAIMED || word === AWAITED) {
        if (stopping()) {
          return null;
        }
        this.wait(unit);
      } else if (Atomics.compareExchange(this.words, unit, word, CLAIMED) === word) {
        return word;
      }
    }
  }

  /**
   * Ends the caller's claim and wakes those who wait for it here.
   *
   * @param word MAPPED, MISSING or what {@link poisonedBecause} gives
   * @returns whether anybody waits, here or, after {@link markAwaited}, elsewhere
   */
  publish(unit: number, word: number): boolean {
    if (Atomics.exchange(this.words, unit, word) !== AWAITED) {
      return false;
    }
    Atomics.notify(this.words, unit);
    return true;
  }

  /** Leaves word that somebody waits for the claimed unit; false if it is not claimed any more. */
  markAwaited(unit: number): boolean {
    const state = Atomics.compareExchange(this.words, unit, CLAIMED, AWAITED);
    return state === CLAIMED || state === AWAITED;
  }

  /** Sleeps while another thread holds the claim, a short while at most. */
  wait(unit: number): void {
    if (this.markAwaited(unit)) {
      Atomics.wait(this.words, unit, AWAITED, WAIT_SLICE_MILLISECONDS);
    }
  }

  stateOf(unit: number): PageState {
    return stateOfWord(Atomics.load(this.words, unit));
  }

  /** Why a unit is poisoned, or -1 if it is not. */
  reasonOf(unit: number): number {
    const word = Atomics.load(this.words, unit);
    return stateOfWord(word) === POISONED ? word >>> REASON_SHIFT : -1;
  }

  /** How many units are in each state, for reports. */
  count(state: PageState): number {
    let count = 0;
    for (let unit = 0; unit < this.words.length; unit++) {
      if (this.stateOf(unit) === state) {
        count++;
      }
    }
    return count;
  }
}
