import type { DeliveryName } from '../machine/delivery.js';
import type { VmaLockStatistics } from '../measure/vma-lock-statistics.js';
import type { BackingName } from '../memory/backing.js';
import type { Figure } from './bench-result.js';

/** mmap_lock taken in one mode, per fault. */
export interface LockShare {
  readonly acquisitions: Figure;
  /** From asking for it to having it. Null where it was not traced. */
  readonly waitMicroseconds: Figure | null;
  /** From having it to releasing it. */
  readonly holdMicroseconds: Figure | null;
  /** How often, per fault, it was waited for longer than 10 µs. */
  readonly longWaits?: Figure | null;
}

/** Threads of a kind. */
export interface ThreadShare {
  readonly threads: 'vcpus' | 'handlers' | 'writers';
  readonly read: LockShare;
  readonly write: LockShare;
}

/** A row of `bench contention`: per fault, medians over the repetitions. */
export interface ContentionRow {
  /** `exit`, `handler, 2 writers`, … */
  readonly label: string;
  readonly delivery: DeliveryName;
  readonly backing: BackingName;
  readonly vcpus: number;
  readonly handlers: number;
  readonly writers: number;
  /** Writes to the address space that the writers made, per second; null without writers. */
  readonly writesPerSecond: Figure | null;
  readonly faults: Figure;
  /** In each run; the fewest, should they differ. */
  readonly pagesVerified: number;
  /** All vCPUs and handlers together; writers are in `byThread` alone. */
  readonly read: LockShare;
  readonly write: LockShare;
  readonly byThread: readonly ThreadShare[];
  readonly contextSwitches: Figure | null;
  readonly kvmRuns: Figure | null;
  /** Those that KVM handled itself too. Null where the KVM module does not tell. */
  readonly kvmExits?: Figure | null;
  /** Page faults that gave up their lock and were begun again. Null where the kernel does not tell. */
  readonly pageFaultRetries: Figure | null;
  /** Of runs in which nothing was traced. */
  readonly pagesPerSecond: Figure;
  readonly p50Microseconds: Figure | null;
  readonly p99Microseconds: Figure | null;
  /** Of the runs that were timed, how many were disturbed: others used more than a tenth of a CPU. */
  readonly disturbed: number;
  /** How many of these were long enough to tell. */
  readonly told: number;
}

/** Whether a system call takes mmap_lock on this kernel, counted around many of them. */
export interface CallLocks {
  /** `UFFDIO_CONTINUE`, `MADV_POPULATE_WRITE`, … */
  readonly call: string;
  readonly calls: number;
  /** Acquisitions of mmap_lock per call; null where they cannot be counted. */
  readonly read: number | null;
  readonly write: number | null;
  /** Why it could not be counted, or what else is to be said. */
  readonly note: string;
}

export interface ContentionSummary {
  readonly rows: readonly ContentionRow[];
  readonly calls: readonly CallLocks[];
  /** What this host does not give, and why. */
  readonly notMeasured: Readonly<Record<string, string>>;
  /** What tracing makes of a lock that nobody else wants; null where it cannot be traced. */
  readonly uncontendedWaitMicroseconds?: number | null;
  /** Faults that did with the lock of one VMA, and that did not, while the guests ran; of the whole host. */
  readonly vmaLocks?: VmaLockStatistics | null;
  readonly repeat: number;
  readonly warmUps: number;
}
