import type { DeliveryName } from '../machine/delivery.js';
import type { Pin } from '../machine/machine-config.js';
import type { ScalingFit } from '../measure/scaling-law.js';
import type { BackingName } from '../memory/backing.js';
import type { Figure, LatencyHistogram } from './bench-result.js';

/** What distinguishes a curve of `bench faults`; vCPUs are its abscissa. */
export interface FaultsSubject {
  readonly delivery: DeliveryName;
  readonly backing: BackingName;
  readonly uffds: 'one' | 'per-vcpu';
  /** Null: as many as there are vCPUs. 0 where the delivery has none. */
  readonly handlers: number | null;
  readonly share: 'partition' | 'overlap';
  readonly order: 'sequential' | 'random';
  /** An imitated network fetch: how much later each page is here. */
  readonly delayMicroseconds: number;
  /** Null: wherever the scheduler puts them. */
  readonly pin: Pin | null;
}

/** One subject with so many vCPUs. */
export interface FaultsPoint {
  readonly vcpus: number;
  readonly pagesPerSecond: Figure;
  /** Of first accesses by the guest's TSC. */
  readonly p50Microseconds: Figure | null;
  readonly p99Microseconds: Figure | null;
  /** All repetitions together. */
  readonly latency: LatencyHistogram | null;
  /** In each run; the fewest, should they differ. */
  readonly pagesVerified: number;
  /** Of its runs, how many were disturbed: other processes used more than a tenth of a CPU. */
  readonly disturbed: number;
  /** How many were long enough to tell. */
  readonly told: number;
}

export interface FaultsCurve {
  /** What distinguishes it from the other curves of this result: `exit`, `exit, hugetlb-2M`, … */
  readonly label: string;
  readonly subject: FaultsSubject;
  /** By vCPUs, ascending. */
  readonly points: readonly FaultsPoint[];
  readonly fit: ScalingFit;
}

/** A curve published by others, in pages per second over vCPUs. */
export interface PublishedCurve {
  /** As given to `--reference`: `moorthy-2024`. */
  readonly reference: string;
  readonly label: string;
  /** Whose, where, on what machine. */
  readonly source: string;
  readonly points: readonly { readonly vcpus: number; readonly pagesPerSecond: number }[];
  /** Of the same law as ours. */
  readonly fit?: ScalingFit;
}

export interface FaultsSummary {
  readonly curves: readonly FaultsCurve[];
  readonly published: readonly PublishedCurve[];
  /** What could not be measured, and why. */
  readonly leftOut: readonly { readonly label: string; readonly reason: string }[];
  /** Repetitions of each point that count, and those before them that do not. */
  readonly repeat: number;
  readonly warmUps: number;
}
