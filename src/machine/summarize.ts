import { OUTCOMES, type OutcomeName } from '../fault/outcome.js';
import { SyscallError } from '../ffi/errors.js';
import {
  type CounterName,
  counterRow,
  MEMORY_FAULT_EXITS,
  readCounters,
} from '../measure/counters.js';
import {
  HISTOGRAM_BYTES,
  largestOf,
  mergeHistograms,
  type Percentiles,
  percentilesOf,
  type ThreadHistograms,
  threadHistograms,
} from '../measure/histogram.js';
import { kvmExitsOf } from '../measure/kvm-exits.js';
import { inMicroseconds } from '../measure/latency-histogram.js';
import { type Measured, sumMeasured } from '../measure/measured.js';
import { openAccess } from '../memory/guest-access.js';
import type { Judgement } from './bundled-guests.js';
import type { Crew } from './crew.js';
import type { ReportedBy } from './delivery.js';
import { locksOf } from './lock-account.js';
import type { Machine } from './machine.js';
import type { HandlerResult, PerFault, RunResult, VcpuResult } from './run-result.js';

type Figures = Pick<
  RunResult,
  | 'faults'
  | 'latencyMicroseconds'
  | 'latencyHistogram'
  | 'firstInstructionMicroseconds'
  | 'resolveMicroseconds'
  | 'perFault'
  | 'locks'
  | 'pageFaultRetries'
  | 'notMeasured'
  | 'guestSeconds'
  | 'pagesPerSecond'
  | 'perVcpu'
  | 'perHandler'
>;

/** What reported the faults of this run: as planned, unless the kernel annotated its exits. */
export function reportedBy(machine: Machine, crew: Crew): ReportedBy {
  for (let thread = 0; thread < crew.threads; thread++) {
    if (counterRow(crew.counters, thread)[MEMORY_FAULT_EXITS]! > 0) {
      return 'memory-fault';
    }
  }
  return machine.delivery.reportedBy;
}

/**
 * What a run cost, from what its threads counted. They must have ended.
 *
 * @param touched distinct pages the guest touched, where it reported them
 */
export function summarize(
  machine: Machine,
  crew: Crew,
  judgement: Judgement,
  touched: number | null,
): Figures {
  const rows = Array.from({ length: crew.threads }, (_, thread) =>
    readCounters(counterRow(crew.counters, thread)),
  );
  const total = (name: CounterName): number => rows.reduce((sum, row) => sum + row[name], 0);
  const outcomes = Object.fromEntries(OUTCOMES.map((name) => [name, total(name)])) as Record<
    OutcomeName,
    number
  >;
  const count =
    machine.delivery.reportedBy === 'none'
      ? crew.vcpuFinishes.reduce((sum, { perf }) => sum + perf.pageFaults, 0)
      : total('faults');
  const finishes = [...crew.vcpuFinishes, ...crew.handlerFinishes];
  const complete = finishes.length === crew.threads;
  const began = Math.min(...crew.vcpuFinishes.map((finish) => finish.began));
  const ended = Math.max(...crew.vcpuFinishes.map((finish) => finish.ended));
  const guestSeconds = complete ? (ended - began) / 1e9 : null;
  const { perFault, notMeasured } = costs(machine, crew, rows, count);
  const { locks, why } = locksOf(crew);
  if (why !== null && machine.config.traceLocks) {
    notMeasured.locks = why;
  }
  const retries = sumMeasured(finishes.map(({ faultRetries }) => faultRetries));
  if (retries.value === null && machine.config.countFaultRetries) {
    notMeasured.pageFaultRetries = retries.why;
  }
  return {
    faults: { count, neighbours: total('neighbours'), outcomes },
    ...(complete
      ? guestLatency(machine, judgement.maxCycles, faulted(machine, outcomes))
      : UNTIMED),
    resolveMicroseconds: percentilesOf(mergeThreads(crew, 'resolve'), null, 1 / 1000),
    perFault,
    locks,
    pageFaultRetries: retries.value,
    notMeasured,
    guestSeconds,
    pagesPerSecond:
      touched === null || guestSeconds === null ? null : Math.round(touched / guestSeconds),
    perVcpu: crew.vcpuFinishes.map(({ index, end, perf, heap, began, ended }): VcpuResult => {
      const row = rows[index]!;
      const pagesPerUnit = machine.config.unitBytes / 4096;
      const seconds = (ended - began) / 1e9;
      const faults = machine.delivery.trapped ? row.faults : null;
      return {
        index,
        end: end.vcpu.reason,
        exitCode: end.vcpu.reason === 'exited' ? end.vcpu.code : null,
        faults,
        pagesPerSecond:
          faults === null
            ? null
            : Math.round(((row.installed + row.neighbours) * pagesPerUnit) / seconds),
        kvmRuns: row.kvmRuns,
        ramAccesses: row.ramAccesses,
        portAccesses: row.portAccesses,
        messages: row.messages,
        report: [...end.report],
        contextSwitches: perf.contextSwitches.value,
        heap,
      };
    }),
    perHandler: crew.handlerFinishes.map(
      ({ index, perf, heap }): HandlerResult => ({
        index,
        faults: rows[machine.vcpus.length + index]!.faults,
        contextSwitches: perf.contextSwitches.value,
        heap,
      }),
    ),
  };
}

/** Why no fault has such a time. */
function untimed({ delivery, memory }: Machine, name: 'user' | 'allocate'): string {
  if (delivery.prefilled) {
    return `delivery ${delivery.name} resolves no fault in userspace`;
  }
  return name === 'allocate' && memory.backing.fill === 'copy'
    ? 'UFFDIO_COPY allocates the page'
    : 'too few faults: every sixteenth is timed';
}

function costs(
  machine: Machine,
  crew: Crew,
  rows: readonly Record<CounterName, number>[],
  faults: number,
): { perFault: PerFault; notMeasured: Record<string, string> } {
  const readings = [...crew.vcpuFinishes, ...crew.handlerFinishes].map(({ perf }) => perf);
  const total = (name: CounterName): number => rows.reduce((sum, row) => sum + row[name], 0);
  const notMeasured: Record<string, string> = {};
  const per = (name: string, figure: Measured): number | null => {
    if (figure.value === null) {
      notMeasured[name] = figure.why;
      return null;
    }
    if (faults === 0) {
      notMeasured[name] = 'there were no faults';
      return null;
    }
    return figure.value / faults;
  };
  const median = (name: 'user' | 'allocate'): Measured => {
    const found = percentilesOf(mergeThreads(crew, name), null, 1 / 1000);
    return found === null
      ? { value: null, why: untimed(machine, name) }
      : { value: found.p50 * faults }; // `per` divides by them
  };
  const perFault: PerFault = {
    mmapLockAcquisitions: per(
      'mmapLockAcquisitions',
      sumMeasured(readings.map((reading) => reading.mmapLockAcquisitions)),
    ),
    contextSwitches: per(
      'contextSwitches',
      sumMeasured(readings.map((reading) => reading.contextSwitches)),
    ),
    kvmRuns: per('kvmRuns', { value: total('kvmRuns') }),
    kvmExits: per(
      'kvmExits',
      sumMeasured(
        crew.vcpuFinishes.map(({ index, perf }) => kvmExitsOf(perf.kvmExits, rows[index]!.kvmRuns)),
      ),
    ),
    syscalls: per('syscalls', { value: total('syscalls') }),
    userMicroseconds: per('userMicroseconds', median('user')),
    allocateMicroseconds: per('allocateMicroseconds', median('allocate')),
  };
  return { perFault, notMeasured };
}

/**
 * First accesses that ended in a fault: each fault but those that were to be repeated. Null where
 * that is not known: the kernel counts faults of its own among the guest's, and a page that is
 * discarded faults again, at an access that is not its first.
 */
function faulted(
  { delivery, config }: Machine,
  outcomes: Readonly<Record<OutcomeName, number>>,
): number | null {
  if (delivery.reportedBy === 'none' || config.discard !== null) {
    return null;
  }
  const { retried, ...ended } = outcomes;
  return Object.values(ended).reduce((sum, times) => sum + times, 0);
}

type GuestLatency = Pick<
  RunResult,
  'latencyMicroseconds' | 'latencyHistogram' | 'firstInstructionMicroseconds'
>;

const UNTIMED: GuestLatency = {
  latencyMicroseconds: null,
  latencyHistogram: null,
  firstInstructionMicroseconds: null,
};

/**
 * From the histograms that the guest keeps in its own memory, in cycles of its TSC.
 *
 * @param faulted of the accesses in them, how many were faults; they are the slowest by far
 */
function guestLatency(
  machine: Machine,
  maxCycles: number | null,
  faulted: number | null,
): GuestLatency {
  const { note } = machine.image;
  if (note === null || note.histograms === 0 || maxCycles === null) {
    return UNTIMED;
  }
  let histograms: Uint32Array[];
  try {
    const access = openAccess(machine.memory.layout);
    histograms = machine.vcpus.map((_, index) => {
      const address = note.histograms + index * note.histogramStride;
      return new Uint32Array(access.read(address, HISTOGRAM_BYTES).buffer);
    });
  } catch (error) {
    if (error instanceof SyscallError) {
      return UNTIMED; // its file was cut short, which verification tells
    }
    throw error;
  }
  const microsecondsPerCycle = 1000 / machine.vcpus[0]!.tscKilohertz();
  const all = mergeHistograms(histograms);
  const percentiles = (counts: Float64Array): Percentiles | null =>
    percentilesOf(counts, maxCycles, microsecondsPerCycle);
  return {
    latencyMicroseconds: percentiles(all),
    latencyHistogram: inMicroseconds(all, microsecondsPerCycle),
    firstInstructionMicroseconds: faulted === null ? null : percentiles(largestOf(all, faulted)),
  };
}

function mergeThreads(crew: Crew, name: keyof ThreadHistograms): Float64Array {
  return mergeHistograms(
    Array.from(
      { length: crew.threads },
      (_, thread) => threadHistograms(crew.histograms, thread)[name],
    ),
  );
}
