import { USER_NANOSECONDS, USER_SAMPLES } from '../measure/counters.js';
import { bucketOf } from '../measure/histogram.js';
import { monotonicClock } from '../measure/monotonic-clock.js';

/** One fault in this many has its time inside system calls told apart from the rest. */
export const USER_SAMPLE_INTERVAL = 16;

/**
 * Times of one thread's faults: of every fault, from its arrival in userspace to the end of its
 * resolution, into a histogram of nanoseconds; of every sixteenth, the part outside system calls
 * into the counter row. Costs two clock readings per fault, five per sampled one.
 */
export interface FaultTiming {
  /** KVM_RUN or read returned. */
  readonly arrived: () => void;
  /** The fault's address is known. */
  readonly identified: () => void;
  readonly beforeContinue: () => void;
  readonly afterContinue: () => void;
  /** About to re-enter, or to take the next message. */
  readonly resolved: () => void;
}

/**
 * @param histogram counts per bucket, in nanoseconds
 * @param counters the thread's counter row
 */
export function createFaultTiming(histogram: Int32Array, counters: Float64Array): FaultTiming {
  const clock = monotonicClock(5);
  const [stampArrived, stampIdentified, stampBefore, stampAfter, stampResolved] =
    clock.stamp as readonly [() => void, () => void, () => void, () => void, () => void];
  let countdown = 0;
  let continued = false;

  return {
    arrived: () => {
      stampArrived();
    },
    identified: () => {
      continued = false;
      if (countdown === 0) {
        stampIdentified();
      }
    },
    beforeContinue: () => {
      if (countdown === 0) {
        stampBefore();
      }
    },
    afterContinue: () => {
      if (countdown === 0) {
        stampAfter();
        continued = true;
      }
    },
    resolved: () => {
      stampResolved();
      histogram[bucketOf(clock.between(0, 4))]! += 1;
      if (countdown > 0) {
        countdown--;
        return;
      }
      countdown = USER_SAMPLE_INTERVAL - 1;
      if (continued) {
        counters[USER_SAMPLES]! += 1;
        counters[USER_NANOSECONDS]! += clock.between(1, 2) + clock.between(3, 4);
      }
    },
  };
}
