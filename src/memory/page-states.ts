/**
 * The state of every fault unit, one 32-bit word each in shared memory, changed by compare-and-swap.
 *
 * ```
 *  MISSING --claim--> CLAIMED --publish--> MAPPED | POISONED | MISSING (given back)
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

  /** Ends the caller's claim and wakes those who wait for it. */
  publish(unit: number, state: typeof MAPPED | typeof POISONED | typeof MISSING): void {
    if (Atomics.exchange(this.words, unit, state) === AWAITED) {
      Atomics.notify(this.words, unit);
    }
  }

  /** Sleeps while another thread holds the claim, a short while at most. */
  wait(unit: number): void {
    const state = Atomics.compareExchange(this.words, unit, CLAIMED, AWAITED);
    if (state === CLAIMED || state === AWAITED) {
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
