import type { RunResult } from '../machine/run-result.js';
import type { Figure } from './bench-result.js';
import { figure } from './figures.js';

/** What a fault goes through in the kernel, per fault; null for what was not counted. */
export interface FaultCounts {
  /** For read and for write, in vCPU and handler threads. */
  readonly mmapLockAcquisitions: number | null;
  /** Calls of get_user_pages_unlocked. */
  readonly slowGup: number | null;
  /** Calls of handle_userfault. */
  readonly userfaults: number | null;
  /** Returns of KVM_RUN, but for accesses to ports. */
  readonly kvmRuns: number | null;
  readonly contextSwitches: number | null;
}

/** One way of telling userspace of a missing page: counts per fault, and times. */
export interface ExitRow extends FaultCounts {
  /** `kernel`, `handler`, `exit: missing`, … */
  readonly label: string;
  /** From an access to its completion: alone, and beside a thread that keeps mmap_lock for write. */
  readonly p50Microseconds: Figure | null;
  readonly pressedP50Microseconds: Figure | null;
  /** Mean time of a fault beside that thread: wall time of the guest by pages touched. */
  readonly pressedMeanMicroseconds: Figure | null;
}

/** A run, and what it is for. */
export interface ExitRun extends RunResult {
  readonly label: string;
  /** `counted`: kernel events; its times are not used. `pressed`: beside the writer. */
  readonly part: 'counted' | 'timed' | 'pressed';
}

export interface ExitsSummary {
  readonly rows: readonly ExitRow[];
  /** Ways that this host has not, and why. */
  readonly leftOut: readonly { readonly label: string; readonly why: string }[];
}

export const EXITS_HEAD = [
  'delivery',
  'mmap_lock',
  'slow GUP',
  'userfaults',
  'KVM_RUNs',
  'ctx sw',
  'p50 µs',
  'pressed p50',
  'mean',
] as const;

/** What a run has counted. */
export function countsOf({ faults, perFault, kernelCalls, perVcpu }: RunResult): FaultCounts {
  const perEach = (total: number | null): number | null =>
    total === null || faults.count === 0 ? null : total / faults.count;
  return {
    mmapLockAcquisitions: perFault.mmapLockAcquisitions,
    slowGup: perEach(kernelCalls?.slowGup ?? null),
    userfaults: perEach(kernelCalls?.userfaults ?? null),
    // But for those in which the guest asked for something itself.
    kvmRuns: perEach(
      perVcpu.reduce((sum, { kvmRuns, portAccesses = 0 }) => sum + kvmRuns - portAccesses, 0),
    ),
    contextSwitches: perFault.contextSwitches,
  };
}

/** A row as it is shown, in text and on a page. */
export function exitCells(row: ExitRow): string[] {
  return [
    row.label,
    ...[
      row.mmapLockAcquisitions,
      row.slowGup,
      row.userfaults,
      row.kvmRuns,
      row.contextSwitches,
    ].map((value) => figure(value, 2)),
    figure(row.p50Microseconds?.median, 1),
    figure(row.pressedP50Microseconds?.median, 1),
    figure(row.pressedMeanMicroseconds?.median, 1),
  ];
}
