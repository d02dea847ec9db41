import type { OutcomeName } from '../fault/outcome.js';
import type { HeapUse } from '../fault/worker-control.js';
import type { ErrorReport } from '../ffi/errors.js';
import type { Percentiles } from '../measure/histogram.js';
import type { HostDescription } from '../measure/host.js';
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
  readonly code: ErrorReport['code'] | Exclude<RunOutcome, 'completed' | 'error'> | 'interrupted';
  readonly message: string;
  readonly hint: string;
}

/** Costs of one fault, averaged; a figure that this host or run does not give is null. */
export interface PerFault {
  readonly mmapLockAcquisitions: number | null;
  readonly contextSwitches: number | null;
  readonly kvmRuns: number | null;
  readonly syscalls: number | null;
  /** Median time in userspace outside system calls and page faults of our own (every 16th is timed). */
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
  /** The words its guest wrote to the report ports (guest-images/README.md). */
  readonly report: readonly number[];
  /** Context switches of its thread while it ran. */
  readonly contextSwitches: number | null;
  readonly heap: HeapUse;
}

export interface HandlerResult {
  readonly index: number;
  readonly faults: number;
  readonly contextSwitches: number | null;
  readonly heap: HeapUse;
}

/** The JSON of a run: schema `faultline.run/1`. */
export interface RunResult {
  readonly schema: 'faultline.run/1';
  readonly image: string;
  readonly outcome: RunOutcome;
  readonly error: RunError | null;
  readonly config: Omit<MachineConfig, 'image' | 'delivery' | 'source' | 'params'> & {
    readonly source: string;
    readonly around: 0;
    readonly uffds: 'one';
    readonly params: Readonly<Record<string, string | number>>;
  };
  readonly delivery: {
    readonly requested: DeliveryName | 'auto';
    readonly used: DeliveryName;
    readonly reportedBy: ReportedBy;
    readonly why: string;
  };
  readonly pages: {
    readonly bytesPerPage: 4096;
    /** Distinct pages the guest touched, by its own count; null for an image that reports none. */
    readonly touched: number | null;
    /**
     * Touched pages whose every word was right afterwards; null where nothing is known of what the
     * image writes. Resident pages that the guest did not touch are compared too: see `mismatched`.
     */
    readonly verified: number | null;
    readonly mismatched: number | null;
  };
  readonly faults: {
    /**
     * Faults that reached userspace. Under delivery `kernel` none does: there it is the page faults
     * that the kernel served in the vCPU threads; on reads it maps up to 16 pages with each.
     */
    readonly count: number;
    readonly outcomes: Readonly<Record<OutcomeName, number>>;
  };
  /** First accesses of pages as the guest's TSC saw them; null for an image that times none. */
  readonly latencyMicroseconds: Percentiles | null;
  /** Faults in userspace: from the return of KVM_RUN (or of read) to the page being mapped. */
  readonly resolveMicroseconds: Percentiles | null;
  readonly perFault: PerFault;
  /** Why figures of `perFault` are null. */
  readonly notMeasured: Readonly<Record<string, string>>;
  /** From building the machine to the end of verification. */
  readonly wallSeconds: number;
  /** From the first vCPU's entry to the last one's end. */
  readonly guestSeconds: number | null;
  readonly pagesPerSecond: number | null;
  readonly perVcpu: readonly VcpuResult[];
  /** Empty but for delivery `handler`. */
  readonly perHandler: readonly HandlerResult[];
  readonly host: HostDescription;
}
