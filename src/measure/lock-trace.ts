/**
 * mmap_lock of one thread, from the tracepoints mmap_lock:*. Their order in a ring is the order in
 * which the thread met them, so that each lock is a start, a return and a release:
 *
 *     start_locking ── wait ── acquire_returned ── hold ── released
 *                              success=0: a trylock that failed, and nothing is held
 *
 * A write lock that is downgraded (munmap does so before it frees pages) is an acquire_returned for
 * read with nothing before it: the write hold ends there and a read hold begins (Linux 6.18).
 */
import { PERF_RECORD_SAMPLE, perf_event_header } from '../uapi/perf.js';
import type { PerfRing } from './perf-ring.js';
import type { TracepointFormat } from './tracepoint-format.js';

/** What is needed of each tracepoint's records. */
export interface LockFormats {
  readonly start: TracepointFormat;
  readonly returned: TracepointFormat;
  readonly released: TracepointFormat;
}

/** A wait longer than this is one for another thread: traced, a lock that is free takes a microsecond. */
export const LONG_WAIT_NANOSECONDS = 10_000;

/** mmap_lock taken in one mode. */
export interface LockTimes {
  /** Successful ones, downgrades included: what the counter of acquire_returned counts. */
  acquisitions: number;
  /** Trylocks that failed. */
  failed: number;
  waitNanoseconds: number;
  /** Waits longer than {@link LONG_WAIT_NANOSECONDS}. */
  longWaits: number;
  holdNanoseconds: number;
}

/** One thread's locks of one address space. */
export interface LockTally {
  /** Address of its mm_struct, which tells it from others: hexadecimal, beyond 2^53. */
  readonly mm: string;
  readonly read: LockTimes;
  readonly write: LockTimes;
  /** Of those for read, downgraded from a write lock. */
  downgrades: number;
  /** Events that do not follow from those before: records are missing, or we understand too little. */
  unmatched: number;
}

const noTimes = (): LockTimes => ({
  acquisitions: 0,
  failed: 0,
  waitNanoseconds: 0,
  longWaits: 0,
  holdNanoseconds: 0,
});

/** Follows one thread's locks of one address space through its events. */
export class LockFollower {
  readonly tally: LockTally;
  private state: 'idle' | 'waiting' | 'holding' = 'idle';
  private write = false;
  private since = 0;

  constructor(mm: string) {
    this.tally = { mm, read: noTimes(), write: noTimes(), downgrades: 0, unmatched: 0 };
  }

  /** @param time nanoseconds, as in the others */
  start(time: number, write: boolean): void {
    this.expect(this.state === 'idle');
    this.enter('waiting', time, write);
  }

  returned(time: number, write: boolean, success: boolean): void {
    const waited = this.state === 'waiting' && this.write === write;
    if (!waited && this.state === 'holding' && this.write && !write && success) {
      this.tally.downgrades++;
      this.tally.write.holdNanoseconds += time - this.since;
      this.tally.read.acquisitions++;
      this.enter('holding', time, false);
      return;
    }
    this.expect(waited);
    const times = this.times(write);
    if (waited) {
      times.waitNanoseconds += time - this.since;
      times.longWaits += time - this.since > LONG_WAIT_NANOSECONDS ? 1 : 0;
    }
    if (success) {
      times.acquisitions++;
      this.enter('holding', time, write);
    } else {
      times.failed++;
      this.state = 'idle';
    }
  }

  released(time: number, write: boolean): void {
    const held = this.state === 'holding' && this.write === write;
    this.expect(held);
    if (held) {
      this.times(write).holdNanoseconds += time - this.since;
    }
    this.state = 'idle';
  }

  /** There are no more events. */
  end(): LockTally {
    this.expect(this.state === 'idle');
    return this.tally;
  }

  private times(write: boolean): LockTimes {
    return write ? this.tally.write : this.tally.read;
  }

  private enter(state: 'waiting' | 'holding', time: number, write: boolean): void {
    this.state = state;
    this.since = time;
    this.write = write;
  }

  private expect(condition: boolean): void {
    if (!condition) {
      this.tally.unmatched++;
    }
  }
}

// Of a sample of {@link LOCK_SAMPLE_TYPE}, behind its header: u32 pid, tid; u64 time; u32 size, raw data.
const TIME = perf_event_header.size + 8;
const RAW = TIME + 8 + 4;

/** What a ring holds. */
export interface LockTrace {
  /** One for each address space, the most locked one first. */
  readonly tallies: readonly LockTally[];
  /** Records of the three tracepoints that are there: fewer than the events counted, if any was lost. */
  readonly records: number;
  /** Lost, by the ring's own records. */
  readonly lost: number;
  /** Records of other kinds. */
  readonly unknown: number;
}

/**
 * Reads the locks of one thread out of its ring: samples of PERF_SAMPLE_TID, TIME and RAW, every
 * other record is only counted.
 *
 * @throws DefectError for a ring that is damaged
 */
export function readLockTrace(ring: PerfRing, formats: LockFormats): LockTrace {
  const followers = new Map<string, LockFollower>();
  const { start, returned, released } = formats;
  const known = new Map([start, returned, released].map((format) => [format.id, format]));
  const typeAt = start.fields.common_type!.offset; // the same in all: it tells them apart
  let records = 0;
  let unknown = 0;
  const lost = ring.visit((type, at) => {
    const raw = at + RAW;
    const format = type === PERF_RECORD_SAMPLE ? known.get(ring.u16(raw + typeAt)) : undefined;
    if (format === undefined) {
      unknown++;
      return;
    }
    records++;
    const { fields } = format;
    const mmAt = raw + fields.mm!.offset;
    const mm = hexadecimal(ring.u32(mmAt + 4), ring.u32(mmAt));
    let follower = followers.get(mm);
    if (follower === undefined) {
      follower = new LockFollower(mm);
      followers.set(mm, follower);
    }
    const time = ring.u64(at + TIME);
    const write = ring.u8(raw + fields.write!.offset) !== 0;
    if (format === start) {
      follower.start(time, write);
    } else if (format === returned) {
      follower.returned(time, write, ring.u8(raw + fields.success!.offset) !== 0);
    } else {
      follower.released(time, write);
    }
  });
  const tallies = [...followers.values()].map((follower) => follower.end());
  return { tallies: tallies.sort((a, b) => lockings(b) - lockings(a)), records, lost, unknown };
}

/** How often an address space was locked. */
export function lockings({ read, write }: LockTally): number {
  return read.acquisitions + write.acquisitions;
}

function hexadecimal(high: number, low: number): string {
  return `${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')}`;
}
