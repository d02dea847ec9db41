import { bucketOf, type ThreadHistograms } from '../measure/histogram.js';
import { monotonicClock } from '../measure/monotonic-clock.js';

/** One fault in this many has the parts of its time told apart. */
export const TIMED_FAULT_INTERVAL = 16;

/** Points in time of one fault, in their order. */
const ARRIVED = 0;
const IDENTIFIED = 1;
const BEFORE_ALLOCATE = 2;
const AFTER_ALLOCATE = 3;
const BEFORE_CONTINUE = 4;
const AFTER_CONTINUE = 5;
const RESOLVED = 6;

/**
 * Times of one thread's faults: of every fault, from its arrival in userspace to the end of its
 * resolution; of every sixteenth, also its parts. Into histograms, of which medians are taken: a mean
 * would count the time in which the thread did not have the CPU. Costs two clock readings
 * per fault (0.1 µs each), seven per timed one.
 */
export interface FaultTiming {
  /** KVM_RUN or read returned. */
  readonly arrived: () => void;
  /** The fault's address is known. */
  readonly identified: () => void;
  readonly beforeAllocate: () => void;
  readonly afterAllocate: () => void;
  readonly beforeContinue: () => void;
  readonly afterContinue: () => void;
  /** About to re-enter, or to take the next message. */
  readonly resolved: () => void;
}

const nothing = (): void => undefined;

/** For pages that are brought in outside a fault. */
export const UNTIMED: FaultTiming = {
  arrived: nothing,
  identified: nothing,
  beforeAllocate: nothing,
  afterAllocate: nothing,
  beforeContinue: nothing,
  afterContinue: nothing,
  resolved: nothing,
};

export function createFaultTiming({ resolve, user, allocate }: ThreadHistograms): FaultTiming {
  const clock = monotonicClock(7);
  const { between, costNanoseconds } = clock;
  const stamp = clock.stamp as readonly [() => void, () => void, ...(() => void)[]];
  let countdown = 0;
  let allocated = false;
  let continued = false;

  const stampIfTimed = (point: number): (() => void) => {
    const take = stamp[point]!;
    return () => {
      if (countdown === 0) {
        take();
      }
    };
  };
  const stampIdentified = stampIfTimed(IDENTIFIED);
  const stampAllocated = stampIfTimed(AFTER_ALLOCATE);
  const stampContinued = stampIfTimed(AFTER_CONTINUE);
  const stampResolved = stamp[RESOLVED]!;

  return {
    arrived: stamp[ARRIVED],
    identified: () => {
      allocated = false;
      continued = false;
      stampIdentified();
    },
    beforeAllocate: stampIfTimed(BEFORE_ALLOCATE),
    afterAllocate: () => {
      allocated = true;
      stampAllocated();
    },
    beforeContinue: stampIfTimed(BEFORE_CONTINUE),
    afterContinue: () => {
      continued = true;
      stampContinued();
    },
    resolved: () => {
      stampResolved();
      resolve[bucketOf(between(ARRIVED, RESOLVED))]! += 1;
      if (countdown > 0) {
        countdown--;
        return;
      }
      countdown = TIMED_FAULT_INTERVAL - 1;
      if (continued && allocated) {
        const allocating = between(BEFORE_ALLOCATE, AFTER_ALLOCATE) - costNanoseconds;
        const inUserspace =
          between(IDENTIFIED, BEFORE_ALLOCATE) +
          between(AFTER_ALLOCATE, BEFORE_CONTINUE) +
          between(AFTER_CONTINUE, RESOLVED) -
          3 * costNanoseconds;
        allocate[bucketOf(Math.max(0, allocating))]! += 1;
        user[bucketOf(Math.max(0, inUserspace))]! += 1;
      } else if (continued) {
        // UFFDIO_COPY allocates by itself: those two points were not passed.
        const inUserspace =
          between(IDENTIFIED, BEFORE_CONTINUE) +
          between(AFTER_CONTINUE, RESOLVED) -
          2 * costNanoseconds;
        user[bucketOf(Math.max(0, inUserspace))]! += 1;
      }
    },
  };
}
