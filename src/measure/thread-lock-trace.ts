import type { Descriptor } from '../ffi/descriptor.js';
import { errnoName } from '../ffi/errors.js';
import { errno, ioctl } from '../ffi/libc.js';
import {
  PERF_EVENT_IOC_SET_OUTPUT,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
  PERF_TYPE_TRACEPOINT,
} from '../uapi/perf.js';
import { type LockFormats, type LockTrace, readLockTrace } from './lock-trace.js';
import { MappedRing, ringBytesFor } from './mapped-ring.js';
import { openPerfEvent, readPerfEvent } from './perf-event.js';
import { type TracepointFormat, tracepointFormat } from './tracepoint-format.js';

/** How a thread is to trace its locks; plain data, for workers. */
export interface LockTracing {
  readonly formats: LockFormats;
  /** Of each thread's ring, a power of two. */
  readonly ringBytes: number;
}

/** A fault takes up to four locks, each of three records of 64 bytes. */
const BYTES_PER_FAULT = 1024;

/**
 * Whether and how this host traces mmap_lock.
 *
 * @param faults that one thread may see
 */
export function lockTracing(faults: number): LockTracing | string {
  const fields = { common_type: 2, mm: 8, write: 1 };
  const event = (name: string, wanted: Record<string, number>): TracepointFormat | string =>
    tracepointFormat(`mmap_lock/mmap_lock_${name}`, wanted);
  const start = event('start_locking', fields);
  const returned = event('acquire_returned', { ...fields, success: 1 });
  const released = event('released', fields);
  if (typeof start === 'string') {
    return start;
  }
  if (typeof returned === 'string') {
    return returned;
  }
  if (typeof released === 'string') {
    return released;
  }
  const ringBytes = ringBytesFor(faults, BYTES_PER_FAULT);
  return { formats: { start, returned, released }, ringBytes };
}

/** What a thread's trace came to, or why there is none. */
export type LockTraceReading =
  | (LockTrace & {
      /** Events of the three tracepoints that were counted and are not in the ring. */
      readonly missing: number;
      readonly why: null;
    })
  | { readonly why: string };

/** Traces the calling thread's locks into a ring of its own, while the counters it is grouped with count. */
export class ThreadLockTrace implements Disposable {
  private readonly events: readonly Descriptor[];
  readonly ring: MappedRing;
  private readonly tracing: LockTracing;

  private constructor(events: readonly Descriptor[], ring: MappedRing, tracing: LockTracing) {
    this.events = events;
    this.ring = ring;
    this.tracing = tracing;
  }

  /** @param leader starts and stops it; null: it counts at once, for as long as it is open */
  static open(tracing: LockTracing, leader: Descriptor | null): ThreadLockTrace | string {
    const { start, returned, released } = tracing.formats;
    const events: Descriptor[] = [];
    const giveUp = (why: string): string => {
      for (const event of events) {
        event.close();
      }
      return why;
    };
    for (const { id } of [start, returned, released]) {
      const event = openPerfEvent({
        type: PERF_TYPE_TRACEPOINT,
        config: id,
        sampleType: PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_RAW,
        leader,
      });
      if (typeof event === 'string') {
        return giveUp(event);
      }
      events.push(event);
    }
    const [owner, ...others] = events;
    const ring = MappedRing.of(owner!, tracing.ringBytes);
    if (typeof ring === 'string') {
      return giveUp(ring);
    }
    for (const event of others) {
      // Into one ring, or the order of events would be lost.
      if (ioctl(event.fd, PERF_EVENT_IOC_SET_OUTPUT, owner!.fd) < 0) {
        const why = `PERF_EVENT_IOC_SET_OUTPUT failed: ${errnoName(errno())}`;
        ring[Symbol.dispose]();
        return giveUp(why);
      }
    }
    return new ThreadLockTrace(events, ring, tracing);
  }

  /** What is open until it is disposed of. */
  get descriptors(): number[] {
    return this.events.map(({ fd }) => fd);
  }

  /** What has been traced; it must have been stopped. */
  read(): LockTraceReading {
    let counted = 0;
    for (const event of this.events) {
      const reading = readPerfEvent(event);
      if (reading.value === null) {
        return { why: reading.why };
      }
      counted += reading.value;
    }
    const trace = readLockTrace(this.ring.read(), this.tracing.formats);
    return { ...trace, missing: counted - trace.records, why: null };
  }

  [Symbol.dispose](): void {
    for (const event of this.events) {
      event.close();
    }
    this.ring[Symbol.dispose]();
  }
}
