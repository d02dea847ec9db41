import type { MemoryErrorCause } from '../fault/memory-error.js';
import type { OutcomeName } from '../fault/outcome.js';
import type { HeapUse } from '../fault/worker-control.js';
import type { ErrorReport } from '../ffi/errors.js';
import type { Percentiles } from '../measure/histogram.js';
import type { HostDescription } from '../measure/host.js';
import type { HugetlbReport } from '../memory/guest-memory.js';
import type { HugetlbPool } from '../memory/hugetlb-pool.js';
import type { LatencyHistogram } from '../report/bench-result.js';
import type { SourceTally } from '../source/source-control.js';
import type { Startup } from './crew.js';
import type { DeliveryName, ReportedBy } from './delivery.js';
import type { MachineConfig } from './machine-config.js';

/**
 * - `completed`: every vCPU ended by itself and memory verified
 * - `shutdown`: the guest triple-faulted
 * - `memory-error`: the contents of a page could not be had
 * - `mismatch`: a word of memory was not what it had to be
 * - `timeout`, `error`: see `error`
 */
export type RunOutcome =
  | 'completed'
  | 'shutdown'
  | 'memory-error'
  | 'mismatch'
  | 'timeout'
  | 'error';

/** Why a run did not complete. */
export interface RunError {
  readonly code: ErrorReport['code'] | Exclude<RunOutcome, 'completed' | 'error'>;
  readonly message: string;
  readonly hint: string;
}

/** Costs of one fault, averaged; a figure that this host or run does not give is null. */
export interface PerFault {
  readonly mmapLockAcquisitions: number | null;
  readonly contextSwitches: number | null;
  readonly kvmRuns: number | null;
  /** Of vCPUs, out of the guest: those that KVM handles itself too, which do not return from KVM_RUN. */
  readonly kvmExits: number | null;
  readonly syscalls: number | null;
  /**
   * Median time in userspace outside system calls and page faults of our own (every 16th is timed).
   * What `--network` makes a fault wait is part of it.
   */
  readonly userMicroseconds: number | null;
  /** Median time in which the kernel allocated the page, in a fault of the alias mapping. */
  readonly allocateMicroseconds: number | null;
}

export interface VcpuResult {
  readonly index: number;
  /** How it ended: `exited`, `halted`, `stopped`, … */
  readonly end: string;
  readonly exitCode: number | null;
  readonly faults: number | null;
  readonly pagesPerSecond: number | null;
  readonly kvmRuns: number;
  /** In-RAM MMIO exits served from the alias mapping. */
  readonly ramAccesses: number;
  /** Exits for I/O ports, all served in its thread. Absent from results of older versions, as the next. */
  readonly portAccesses?: number;
  /** Messages to the main thread while it ran: that its console has output, or room for input. */
  readonly messages?: number;
  /** The words its guest wrote to the report ports (guest-images/README.md). */
  readonly report: readonly number[];
  /** Context switches of its thread while it ran. */
  readonly contextSwitches: number | null;
  readonly heap: HeapUse;
}

/** A vCPU's touch of memory whose contents could not be had. */
export interface MemoryErrorResult {
  readonly vcpu: number;
  /** What was touched, as precisely as it was reported: the byte, or its page. */
  readonly gpa: number;
  readonly hva: number;
  /** Of the instruction that touched it. */
  readonly rip: number;
  readonly cause: MemoryErrorCause;
  /** Of the call that failed, as `EHWPOISON`; null where none did. */
  readonly errno: string | null;
  /** Whether the guest was told by a machine check. */
  readonly injected: boolean;
}

/** A thread that prefetched, discarded, collapsed or changed the address space elsewhere. */
export interface ChoreResult {
  readonly chore: string;
  /** `done`: nothing was left to do. `stopped`: the guest had ended. */
  readonly end: 'done' | 'stopped';
  /** Fault units brought in or discarded, blocks collapsed, changes of the address space. */
  readonly count: number;
  /** Calls made for it. */
  readonly calls: number;
}

export interface HandlerResult {
  readonly index: number;
  readonly faults: number;
  readonly contextSwitches: number | null;
  readonly heap: HeapUse;
}

/** mmap_lock taken in one mode by threads of one kind, while the guest ran. */
export interface LockFigures {
  /**
   * Successful ones. munmap takes it for write and downgrades it, which the kernel's tracepoint
   * shows as one more for read.
   */
  readonly acquisitions: number;
  /** Sums over the threads: from asking for it to having it, from having it to releasing it. */
  readonly waitMicroseconds: number | null;
  readonly holdMicroseconds: number | null;
  /** How often it was waited for longer than 10 µs: a lock that is free takes about one, traced. */
  readonly longWaits: number | null;
  /** Acquisitions in the trace: as many as were counted. These four are null where it was not traced. */
  readonly traced: number | null;
}

export interface ThreadLocks {
  readonly threads: 'vcpus' | 'handlers' | 'writers';
  readonly read: LockFigures;
  readonly write: LockFigures;
  /** Trylocks that did not get it. */
  readonly failed: number;
  /** Of the trace, null where there is none: events of mmap_lock that did not fit into its ring. */
  readonly lost: number | null;
  /** Events that do not follow from those before. */
  readonly unmatched: number | null;
  /** Acquisitions of other address spaces; in `acquisitions` all the same, but not in `traced`. */
  readonly foreign: number | null;
}

/** The JSON of a run: schema `faultline.run/1`. */
export interface RunResult {
  readonly schema: 'faultline.run/1';
  readonly image: string;
  readonly outcome: RunOutcome;
  readonly error: RunError | null;
  readonly config: Omit<
    MachineConfig,
    'image' | 'delivery' | 'source' | 'failSource' | 'params'
  > & {
    readonly source: string;
    /** As given to `--fail-source`. */
    readonly failSource: readonly string[];
    readonly params: Readonly<Record<string, string | number>>;
  };
  readonly delivery: {
    readonly requested: DeliveryName | 'auto';
    readonly used: DeliveryName;
    readonly reportedBy: ReportedBy;
    /** How many the memory is split over: with `--uffds per-vcpu` fewer than vCPUs if shares would be below 2 MiB. */
    readonly userfaultfds: number;
    readonly why: string;
  };
  readonly pages: {
    readonly bytesPerPage: 4096;
    /**
     * Pages that were there before the guest's first instruction: the image and its tables, unless
     * they are brought in as all else (`--load`); under delivery `kernel` all of them. Absent from
     * results of older versions.
     */
    readonly resident?: number;
    /** Distinct pages the guest touched, by its own count; null for an image that reports none. */
    readonly touched: number | null;
    /**
     * Touched pages whose every word was right afterwards; null where nothing is known of what the
     * image writes. Resident pages that the guest did not touch are compared too: see `mismatched`.
     */
    readonly verified: number | null;
    readonly mismatched: number | null;
    /** Touched pages that were discarded since; null where nothing was discarded. */
    readonly discarded: number | null;
    /** Touched pages whose contents could not be had. */
    readonly poisoned: number | null;
  };
  readonly memoryErrors: {
    /** Touches of memory that failed: more than pages where the guest tries again. */
    readonly count: number;
    /** The first ones of each vCPU, 64 at most. */
    readonly records: readonly MemoryErrorResult[];
  };
  readonly faults: {
    /**
     * Faults that reached userspace. Under delivery `kernel` none does: there it is the page faults
     * that the kernel served in the vCPU threads; on reads it maps up to 16 pages with each.
     */
    readonly count: number;
    /** Units that came in with another's fault (`--around`). */
    readonly neighbours: number;
    readonly outcomes: Readonly<Record<OutcomeName, number>>;
  };
  /** Requests to the source that failed while the guest ran; null where none was made. */
  readonly source: SourceTally | null;
  /** First accesses of pages as the guest's TSC saw them; null for an image that times none. */
  readonly latencyMicroseconds: Percentiles | null;
  /** The same in log2 buckets. */
  readonly latencyHistogram: LatencyHistogram | null;
  /**
   * From an access that faults to the instruction after it: the same of those first accesses alone
   * that were faults, which are the slowest of all. It differs from `latencyMicroseconds` where one
   * fault brings in several pages. Null also under delivery `kernel` and where pages are discarded,
   * for it is not known then which accesses those are.
   */
  readonly firstInstructionMicroseconds: Percentiles | null;
  /** Faults in userspace: from the return of KVM_RUN (or of read) to the page being mapped. */
  readonly resolveMicroseconds: Percentiles | null;
  readonly perFault: PerFault;
  /** By kind of thread; null where mmap_lock was not counted. */
  readonly locks: readonly ThreadLocks[] | null;
  /**
   * Page faults in vCPU and handler threads that gave up mmap_lock and were begun again; null where
   * they were not counted.
   */
  readonly pageFaultRetries: number | null;
  /** Why figures of `perFault` are null, or the trace or the retries are. */
  readonly notMeasured: Readonly<Record<string, string>>;
  /** From building the machine to the end of verification. */
  /** The threads of vCPUs, handlers and chores; null where not all of them came to be ready. */
  readonly startup: Startup | null;
  /** What was done to memory while the guest ran. */
  readonly background: readonly ChoreResult[];
  readonly hugePages: {
    /**
     * Bytes of the guest mapping that huge page table entries map (smaps): before the guest ran,
     * when it had ended, and after `--collapse` had done the rest. Null where a run that failed could
     * not look.
     */
    readonly mappedBytes: {
      readonly start: number;
      readonly guestEnd: number | null;
      readonly end: number | null;
    };
    /** Blocks of 2 MiB. */
    readonly collapsedWhileRunning: number;
    readonly collapsedAtEnd: number;
    /** Collapses that the kernel refused, by errno; a block is tried up to three times. */
    readonly failures: Readonly<Record<string, number>>;
  };
  /** The pool before memory was created, after that, and when the guest had ended. Null but for hugetlb. */
  readonly hugetlb: (HugetlbReport & { readonly end: HugetlbPool }) | null;
  readonly wallSeconds: number;
  /** From the first vCPU's entry to the last one's end. */
  readonly guestSeconds: number | null;
  readonly pagesPerSecond: number | null;
  /**
   * CPUs' worth of time that other processes used while the guest ran: at least so much, for the
   * kernel counts in ticks, and what those do not tell is taken off. Null of a guest that did not run.
   */
  readonly otherCpus: number | null;
  readonly perVcpu: readonly VcpuResult[];
  /** Empty but for delivery `handler`. */
  readonly perHandler: readonly HandlerResult[];
  readonly host: HostDescription;
}
