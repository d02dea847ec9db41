import { type LockTally, lockings } from '../measure/lock-trace.js';
import { type Measured, sumMeasured } from '../measure/measured.js';
import type { PerfReadings } from '../measure/perf-counters.js';
import type { LockTraceReading } from '../measure/thread-lock-trace.js';
import type { Crew } from './crew.js';
import type { LockFigures, ThreadLocks } from './run-result.js';

/** What a thread ended with, as far as mmap_lock goes. */
export interface LockReadings {
  readonly perf: PerfReadings;
  readonly lockTrace: LockTraceReading;
}

type Kind = ThreadLocks['threads'];
type Traces = readonly Extract<LockTraceReading, { readonly why: null }>[];

/** What the threads of a run did with mmap_lock; `why` says what is not known of it. */
export function locksOf(crew: Crew): {
  readonly locks: readonly ThreadLocks[] | null;
  readonly why: string | null;
} {
  return accountOfLocks({
    vcpus: crew.vcpuFinishes,
    handlers: crew.handlerFinishes,
    writers: crew.choreFinishes.filter(({ chore }) => chore === 'writer'),
  });
}

/** The same, from what the threads of each kind ended with. */
export function accountOfLocks(kinds: Readonly<Record<Kind, readonly LockReadings[]>>): {
  readonly locks: readonly ThreadLocks[] | null;
  readonly why: string | null;
} {
  const all = Object.values(kinds).flat();
  const untraced = all.map(({ lockTrace }) => lockTrace.why).find((why) => why !== null) ?? null;
  const own = untraced === null ? ownAddressSpace(tracesOf(all)) : null;
  const locks: ThreadLocks[] = [];
  for (const [threads, readings] of Object.entries(kinds) as [Kind, readonly LockReadings[]][]) {
    if (readings.length > 0) {
      const counts = countsOf(readings);
      if (typeof counts === 'string') {
        return { locks: null, why: counts };
      }
      locks.push(shareOf(threads, counts, own === null ? null : tracesOf(readings), own ?? ''));
    }
  }
  return { locks: locks.length === 0 ? null : locks, why: untraced };
}

/** Our own mm is the one that our threads lock: another is locked for what we do to its process. */
function ownAddressSpace(traces: Traces): string {
  const times = new Map<string, number>();
  for (const tally of traces.flatMap(({ tallies }) => tallies)) {
    times.set(tally.mm, (times.get(tally.mm) ?? 0) + lockings(tally));
  }
  const [most] = [...times].sort(([, a], [, b]) => b - a);
  return most?.[0] ?? '';
}

interface Counts {
  readonly read: number;
  readonly write: number;
  readonly failed: number;
}

function countsOf(readings: readonly LockReadings[]): Counts | string {
  const sum = (pick: (perf: PerfReadings) => Measured): Measured =>
    sumMeasured(readings.map(({ perf }) => pick(perf)));
  const all = sum((perf) => perf.mmapLockAcquisitions);
  const write = sum((perf) => perf.mmapLockWrites);
  const failed = sum((perf) => perf.mmapLockFailed);
  if (all.value === null) {
    return all.why;
  }
  if (write.value === null) {
    return write.why;
  }
  if (failed.value === null) {
    return failed.why;
  }
  return {
    read: all.value - write.value - failed.value,
    write: write.value,
    failed: failed.value,
  };
}

/** @param traces of these threads; null where they were not traced */
function shareOf(threads: Kind, counts: Counts, traces: Traces | null, own: string): ThreadLocks {
  const tallies = traces?.flatMap((trace) => trace.tallies) ?? [];
  const ours = tallies.filter(({ mm }) => mm === own);
  const sum = (pick: (tally: LockTally) => number, over = ours): number =>
    over.reduce((total, tally) => total + pick(tally), 0);
  const figures = (mode: 'read' | 'write'): LockFigures => ({
    acquisitions: counts[mode],
    waitMicroseconds: traces && sum((tally) => tally[mode].waitNanoseconds) / 1000,
    holdMicroseconds: traces && sum((tally) => tally[mode].holdNanoseconds) / 1000,
    longWaits: traces && sum((tally) => tally[mode].longWaits),
    traced: traces && sum((tally) => tally[mode].acquisitions),
  });
  return {
    threads,
    read: figures('read'),
    write: figures('write'),
    failed: counts.failed,
    lost: traces?.reduce((total, { missing }) => total + missing, 0) ?? null,
    unmatched: traces && sum((tally) => tally.unmatched, tallies),
    foreign:
      traces &&
      sum(
        lockings,
        tallies.filter(({ mm }) => mm !== own),
      ),
  };
}

function tracesOf(readings: readonly LockReadings[]): Traces {
  return readings.flatMap(({ lockTrace }) => (lockTrace.why === null ? [lockTrace] : []));
}
