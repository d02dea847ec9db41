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

export type PageState =
  | typeof MISSING
  | typeof CLAIMED
  | typeof AWAITED
  | typeof MAPPED
  | typeof POISONED;

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
    return Atomics.compareExchange(this.words, unit, MISSING, CLAIMED) as PageState;
  }

  /** The same of a unit that is mapped; false if it is not, or not any more. */
  claimMapped(unit: number): boolean {
    return Atomics.compareExchange(this.words, unit, MAPPED, CLAIMED) === MAPPED;
  }

  /**
   * Claims the unit whatever state it is in, once nobody else holds a claim.
   *
   * @param stopping asked now and then while it waits; true gives up
   * @returns the state it was in, or null if it gave up
   */
  seize(
    unit: number,
    stopping: () => boolean,
  ): typeof MISSING | typeof MAPPED | typeof POISONED | null {
    for (;;) {
      const state = this.stateOf(unit);
      if (state === CLAIMED || state === AWAITED) {
        if (stopping()) {
          return null;
        }
        this.wait(unit);
      } else if (Atomics.compareExchange(this.words, unit, state, CLAIMED) === state) {
        return state;
      }
    }
  }

  /**
   * Ends the caller's claim and wakes those who wait for it here.
   *
   * @returns whether anybody waits, here or, after {@link markAwaited}, elsewhere
   */
  publish(unit: number, state: typeof MAPPED | typeof POISONED | typeof MISSING): boolean {
    if (Atomics.exchange(this.words, unit, state) !== AWAITED) {
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
    return Atomics.load(this.words, unit) as PageState;
  }

  /** How many units are in each state, for reports. */
  count(state: PageState): number {
    let count = 0;
    for (let unit = 0; unit < this.words.length; unit++) {
      if (this.words[unit] === state) {
        count++;
      }
    }
    return count;
  }
}
