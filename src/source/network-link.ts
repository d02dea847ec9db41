import { clock_gettime, clock_nanosleep, sched_yield } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { timespec } from '../uapi/signal.js';
import { CLOCK_MONOTONIC, TIMER_ABSTIME } from '../uapi/syscall.js';

/** A network between a machine and the place its pages come from. */
export interface Network {
  /** Of the link, all threads together. Infinite for a link that has latency alone. */
  readonly bitsPerSecond: number;
  /** From a request to the first bit of its answer. Requests of several threads overlap in it. */
  readonly latencyMicroseconds: number;
}

const RATES = [
  ['G', 1e9],
  ['M', 1e6],
  ['K', 1e3],
] as const;

/** A rate as it is given to options: `10G`. K, M and G are powers of 1000. */
function formatRate(bitsPerSecond: number): [digits: string, unit: string] {
  const [unit, size] = RATES.find(([, size]) => bitsPerSecond >= size) ?? ['', 1];
  return [String(bitsPerSecond / size), unit];
}

/** As written after `--network`: `10G:50`. */
export function nameOfNetwork({ bitsPerSecond, latencyMicroseconds }: Network): string {
  return `${formatRate(bitsPerSecond).join('')}:${latencyMicroseconds}`;
}

/** `10 Gbit/s` */
export function describeRate({ bitsPerSecond }: Network): string {
  const [digits, unit] = formatRate(bitsPerSecond);
  return `${digits} ${unit.replace('K', 'k')}bit/s`;
}

/** `10 Gbit/s, latency 50 µs` */
export function describeNetwork(network: Network): string {
  return `${describeRate(network)}, latency ${network.latencyMicroseconds} µs`;
}

// The link's shared memory: two 32-bit words, then a double.
const LOCK = 0;
const CLOSED = 1;
/** When the wire is free again, in nanoseconds of CLOCK_MONOTONIC. */
const FREE_AT = 1;
const LINK_BYTES = 16;

const LOCK_TRIES = 100;

/**
 * A sleeper wakes this much too late at most, but for one in ten: 50 µs are the timer slack that every
 * thread has, as much again is waking an idle CPU of a virtual machine. The rest of a wait is spun.
 */
const WAKE_UP_NANOSECONDS = 200_000;
/** A sleeper looks this often whether the link was closed. */
const SLICE_NANOSECONDS = 10_000_000;

/** Shared memory for a link that is idle. */
export function allocateLink(): SharedArrayBuffer {
  return new SharedArrayBuffer(LINK_BYTES);
}

/** From now on nobody waits for the network: the machine is being stopped. */
export function closeLink(link: SharedArrayBuffer): void {
  Atomics.store(new Int32Array(link), CLOSED, 1);
}

/**
 * A thread's end of a link that threads share. Answers queue for the wire: each takes its bytes'
 * time, after those that were asked for before it; the latency comes on top, and not on the wire.
 *
 * ```
 *   asked     wire busy with others    its own bits          latency
 *   |------------------------------|-------------------|----------------->| here
 * ```
 *
 * Neither call allocates.
 */
export interface LinkEnd {
  /** Asks for so many bytes. */
  readonly request: (bytes: number) => void;
  /** Returns when they are here, never before, or when the link is closed. */
  readonly receive: () => void;
}

export function openLink(
  link: SharedArrayBuffer,
  { bitsPerSecond, latencyMicroseconds }: Network,
): LinkEnd {
  const words = new Int32Array(link, 0, 2);
  const times = new Float64Array(link);
  const here = new Float64Array(1);
  const nanosecondsPerByte = 8e9 / bitsPerSecond;
  const latencyNanoseconds = latencyMicroseconds * 1000;
  const page = new ScratchPage(2 * timespec.size);
  const { s32 } = page;
  const clock = page.address;
  const wakeUp = page.address + timespec.size;
  const WAKE_UP_SECONDS = (timespec.size + timespec.offset.tv_sec) >> 2;
  const WAKE_UP_REST = (timespec.size + timespec.offset.tv_nsec) >> 2;
  const SECONDS = timespec.offset.tv_sec >> 2;
  const REST = timespec.offset.tv_nsec >> 2;

  const isClosed = (): boolean => Atomics.load(words, CLOSED) !== 0;

  return {
    request: (bytes) => {
      for (let tries = 0; Atomics.compareExchange(words, LOCK, 0, 1) !== 0; tries++) {
        if (tries > LOCK_TRIES) {
          Atomics.wait(words, LOCK, 1, 1); // its holder has lost the CPU in between
        }
      }
      clock_gettime(CLOCK_MONOTONIC, clock);
      const now = s32[SECONDS]! * 1e9 + s32[REST]!;
      const sent = Math.max(now, times[FREE_AT]!) + bytes * nanosecondsPerByte;
      times[FREE_AT] = sent;
      Atomics.store(words, LOCK, 0);
      here[0] = sent + latencyNanoseconds;
    },

    receive: () => {
      for (;;) {
        clock_gettime(CLOCK_MONOTONIC, clock);
        const now = s32[SECONDS]! * 1e9 + s32[REST]!;
        const left = here[0]! - now;
        if (left <= 0 || isClosed()) {
          return;
        }
        if (left > WAKE_UP_NANOSECONDS) {
          const until = now + Math.min(left - WAKE_UP_NANOSECONDS, SLICE_NANOSECONDS);
          const seconds = Math.floor(until / 1e9);
          s32[WAKE_UP_SECONDS] = seconds;
          s32[WAKE_UP_REST] = until - seconds * 1e9;
          clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, wakeUp, 0);
        } else {
          // To threads that have something to do: four vCPUs on two CPUs get twice as much done.
          sched_yield();
        }
      }
    },
  };
}
