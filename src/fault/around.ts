/** Neighbouring units to bring in with each fault: a number, or `adaptive`. */
export type AroundPolicy = number | 'adaptive';

/** Access streams an adaptive policy follows at a time. */
const STREAMS = 8;
/** Adaptive: at most this many neighbours, and no more than 2 MiB with the unit itself. */
const MOST_NEIGHBOURS = 63;
const MOST_BYTES = 2 ** 21;

/** How many neighbours to bring in, decided fault by fault. Allocates nothing. */
export interface Around {
  /** The most that `wanted` ever returns. */
  readonly most: number;
  /** How many neighbours are wanted with this unit: those after it first, then those before. */
  readonly wanted: (unit: number) => number;
  /** What came in, the neighbours included. */
  readonly brought: (first: number, count: number) => void;
}

export function createAround(policy: AroundPolicy, unitBytes: number): Around {
  if (policy !== 'adaptive') {
    return { most: policy, wanted: () => policy, brought: () => undefined };
  }
  return createAdaptive(unitBytes);
}

/**
 * A fault next to what a stream brought in last continues it, and doubles its neighbours; any other
 * begins a new stream, with none, in place of the one that was not continued for longest. Random
 * access thus brings in what it asks for and nothing else.
 */
function createAdaptive(unitBytes: number): Around {
  const most = Math.max(0, Math.min(MOST_NEIGHBOURS, Math.floor(MOST_BYTES / unitBytes) - 1));
  const after = new Int32Array(STREAMS).fill(-1);
  const before = new Int32Array(STREAMS).fill(-1);
  const neighbours = new Int32Array(STREAMS);
  const used = new Int32Array(STREAMS);
  let clock = 0;
  let current = 0;

  return {
    most,
    wanted: (unit) => {
      clock = (clock + 1) | 0;
      let oldest = 0;
      for (let stream = 0; stream < STREAMS; stream++) {
        if (after[stream] === unit || before[stream] === unit) {
          current = stream;
          used[stream] = clock;
          const next = Math.min(most, neighbours[stream]! * 2 + 1);
          neighbours[stream] = next;
          return next;
        }
        if (((clock - used[stream]!) | 0) > ((clock - used[oldest]!) | 0)) {
          oldest = stream;
        }
      }
      current = oldest;
      used[oldest] = clock;
      neighbours[oldest] = 0;
      return 0;
    },
    brought: (first, count) => {
      after[current] = first + count;
      before[current] = first - 1;
    },
  };
}
