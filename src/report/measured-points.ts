import type { RunResult } from '../machine/run-result.js';
import { isDisturbed } from '../measure/other-load.js';
import { formatSize } from '../memory/sizes.js';
import type { BenchResult, Figure } from './bench-result.js';
import type { ContentionSummary } from './contention-result.js';
import type { DeliveryRow, LabelledRun } from './deliveries-result.js';
import type { ExitsSummary } from './exits-result.js';
import type { FaultsSummary } from './faults-result.js';
import { figureOf } from './figures.js';
import { type OverheadRow, type Pair, ratioOf } from './overhead-result.js';
import type { UnitsSummary } from './units-result.js';

/** A figure by its name, which says the unit. */
export interface NamedFigure {
  readonly name: string;
  readonly decimals: number;
  readonly figure: Figure | null;
}

/** What was measured at one point of a bench. */
export interface MeasuredPoint {
  /** What names it in its result. */
  readonly label: string;
  /** What must be the same for it to be compared. */
  readonly same: Readonly<Record<string, string | number>>;
  /** What else is known of it. */
  readonly other: Readonly<Record<string, string | number>>;
  readonly figures: readonly NamedFigure[];
  /** Of its runs, how many others disturbed; null where that is known of all runs together only. */
  readonly disturbed: number | null;
  /**
   * Points of a group go together: where either result has one group alone, it is compared whatever
   * it is called.
   */
  readonly group: string;
}

const named = (name: string, decimals: number, figure: Figure | null): NamedFigure => ({
  name,
  decimals,
  figure,
});

/** The points of a bench whose results can be compared; null for any other. */
export function pointsOf(result: BenchResult): MeasuredPoint[] | null {
  switch (result.bench) {
    case 'faults':
      return faultsPoints(result.summary as FaultsSummary);
    case 'contention':
      return contentionPoints(result.summary as ContentionSummary);
    case 'deliveries':
      return deliveriesPoints(result as BenchResult<LabelledRun, readonly DeliveryRow[]>);
    case 'exits':
      return exitsPoints(result.summary as ExitsSummary);
    case 'overhead':
      return overheadPoints(result as BenchResult<Pair, readonly OverheadRow[]>);
    case 'units':
      return unitsPoints(result.summary as UnitsSummary);
    default:
      return null;
  }
}

function faultsPoints({ curves }: FaultsSummary): MeasuredPoint[] {
  return curves.flatMap(({ label, subject, points }) =>
    points.map((point) => ({
      label: `${label}, ${point.vcpus} vCPU${point.vcpus === 1 ? '' : 's'}`,
      disturbed: point.disturbed,
      group: label,
      same: {
        vcpus: point.vcpus,
        backing: subject.backing,
        share: subject.share,
        order: subject.order,
        delayMicroseconds: subject.delayMicroseconds,
      },
      other: {
        delivery: subject.delivery,
        uffds: subject.uffds,
        handlers: subject.handlers ?? 'vcpus',
        pin: JSON.stringify(subject.pin ?? 'none'),
      },
      figures: [
        named('pages/s', 0, point.pagesPerSecond),
        named('p50 µs', 1, point.p50Microseconds),
        named('p99 µs', 1, point.p99Microseconds),
      ],
    })),
  );
}

function contentionPoints({ rows }: ContentionSummary): MeasuredPoint[] {
  return rows.map((row) => ({
    label: row.label,
    group: row.label,
    disturbed: row.disturbed,
    same: { vcpus: row.vcpus, backing: row.backing, writers: row.writers },
    other: { delivery: row.delivery, handlers: row.handlers },
    figures: [
      named('mmap_lock for read', 2, row.read.acquisitions),
      named('mmap_lock for write', 3, row.write.acquisitions),
      named('read, waiting µs', 2, row.read.waitMicroseconds),
      named('read, holding µs', 2, row.read.holdMicroseconds),
      named('write, waiting µs', 2, row.write.waitMicroseconds),
      named('write, holding µs', 2, row.write.holdMicroseconds),
      named('context switches', 2, row.contextSwitches),
      named('KVM exits', 2, row.kvmExits ?? null),
      named('KVM_RUNs', 2, row.kvmRuns),
      named('retries', 3, row.pageFaultRetries),
      named('pages/s', 0, row.pagesPerSecond),
      named('p50 µs', 1, row.p50Microseconds),
      named('p99 µs', 1, row.p99Microseconds),
    ],
  }));
}

function deliveriesPoints({
  summary,
  runs,
}: BenchResult<LabelledRun, readonly DeliveryRow[]>): MeasuredPoint[] {
  return summary.map(({ label }) => {
    const of = (
      counted: boolean,
      pick: (run: LabelledRun) => number | null | undefined,
    ): Figure | null =>
      figureOf(runs.filter((run) => run.label === label && run.counted === counted).map(pick));
    return {
      label,
      group: label,
      disturbed: null,
      same: {},
      other: {},
      figures: [
        named(
          'pages/s',
          0,
          of(false, (run) => run.pagesPerSecond),
        ),
        named(
          'p50 µs',
          1,
          of(false, (run) => run.latencyMicroseconds?.p50),
        ),
        named(
          'p99 µs',
          1,
          of(false, (run) => run.latencyMicroseconds?.p99),
        ),
        named(
          'mmap_lock',
          2,
          of(true, (run) => run.perFault.mmapLockAcquisitions),
        ),
        named(
          'context switches',
          2,
          of(true, (run) => run.perFault.contextSwitches),
        ),
      ],
    };
  });
}

function exitsPoints({ rows }: ExitsSummary): MeasuredPoint[] {
  const counted = (value: number | null): Figure | null => figureOf([value]);
  return rows.map((row) => ({
    label: row.label,
    group: row.label,
    disturbed: null,
    same: {},
    other: {},
    figures: [
      named('mmap_lock', 2, counted(row.mmapLockAcquisitions)),
      named('slow GUP', 2, counted(row.slowGup)),
      named('userfaults', 2, counted(row.userfaults)),
      named('KVM_RUNs', 2, counted(row.kvmRuns)),
      named('context switches', 2, counted(row.contextSwitches)),
      named('p50 µs', 1, row.p50Microseconds),
      named('pressed p50 µs', 1, row.pressedP50Microseconds),
      named('pressed mean µs', 1, row.pressedMeanMicroseconds),
    ],
  }));
}

function overheadPoints({
  summary,
  runs,
}: BenchResult<Pair, readonly OverheadRow[]>): MeasuredPoint[] {
  return summary.map((row) => {
    const of = (pick: (pair: Pair) => number | null): Figure | null =>
      figureOf(runs.filter(({ delivery }) => delivery === row.delivery).map(pick));
    return {
      label: row.delivery,
      group: row.delivery,
      disturbed: null,
      same: {},
      other: {},
      figures: [
        named('TypeScript / C', 2, ratioOf(row)),
        named(
          'TypeScript s',
          3,
          of(({ typescriptSeconds }) => typescriptSeconds),
        ),
        named(
          'C s',
          3,
          of(({ cSeconds }) => cSeconds),
        ),
        named(
          'user µs/fault',
          2,
          of(({ userMicroseconds }) => userMicroseconds),
        ),
        named(
          'alloc µs/fault',
          2,
          of(({ allocateMicroseconds }) => allocateMicroseconds),
        ),
      ],
    };
  });
}

const UNITS_METRICS = {
  dense: 'dense',
  sparse: 'sparse',
  firstInstruction: 'first instruction',
} as const;

function unitsPoints({ units, rows }: UnitsSummary): MeasuredPoint[] {
  return rows.map(({ network, metric, backing, figures }) => ({
    label: `${backing} over ${network}, ${UNITS_METRICS[metric]}`,
    group: `${backing} over ${network}, ${UNITS_METRICS[metric]}`,
    disturbed: null,
    same: { network, metric, backing },
    other: {},
    figures: units.map((unitBytes, index) =>
      named(`${formatSize(unitBytes)}, µs`, 1, figures[index] ?? null),
    ),
  }));
}

/** A run by itself is a point that was measured once. */
export function pointOfRun(run: RunResult): MeasuredPoint {
  const { config, delivery, perFault, latencyMicroseconds: latency } = run;
  const once = (value: number | null | undefined): Figure | null => figureOf([value]);
  return {
    label: `run ${run.image}`,
    group: `run ${run.image}`,
    disturbed: isDisturbed(run) ? 1 : 0,
    same: {
      image: run.image,
      memoryBytes: config.memoryBytes,
      backing: config.backing,
      unitBytes: config.unitBytes,
      vcpus: config.vcpus,
      source: config.source,
      network: JSON.stringify(config.network ?? 'none'),
      params: JSON.stringify(config.params),
    },
    other: {
      delivery: delivery.used,
      'reported by': delivery.reportedBy,
      'exit by': delivery.exitBy ?? 'none',
      strategy: config.strategy,
      around: config.around,
      handlers: config.handlers,
      uffds: config.uffds,
      pin: JSON.stringify(config.pin),
      'kernel events counted': String(config.countKernelEvents ?? 'not known'),
    },
    figures: [
      named('pages/s', 0, once(run.pagesPerSecond)),
      named('guest seconds', 3, once(run.guestSeconds)),
      named('p50 µs', 1, once(latency?.p50)),
      named('p99 µs', 1, once(latency?.p99)),
      named('mmap_lock', 2, once(perFault.mmapLockAcquisitions)),
      named('context switches', 2, once(perFault.contextSwitches)),
      named('KVM_RUNs', 2, once(perFault.kvmRuns)),
      named('system calls', 2, once(perFault.syscalls)),
      named('user µs/fault', 2, once(perFault.userMicroseconds)),
      named('alloc µs/fault', 2, once(perFault.allocateMicroseconds)),
    ],
  };
}
