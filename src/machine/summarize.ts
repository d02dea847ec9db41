import { OUTCOMES, type OutcomeName } from '../fault/outcome.js';
import { viewOf } from '../ffi/view.js';
import {
  type CounterName,
  counterRow,
  MEMORY_FAULT_EXITS,
  readCounters,
} from '../measure/counters.js';
import {
  HISTOGRAM_BYTES,
  histogramRow,
  mergeHistograms,
  type Percentiles,
  percentilesOf,
} from '../measure/histogram.js';
import { type Measured, sumMeasured } from '../measure/measured.js';
import type { Judgement } from './bundled-guests.js';
import type { Crew } from './crew.js';
import type { ReportedBy } from './delivery.js';
import type { Machine } from './machine.js';
import type { HandlerResult, PerFault, RunResult, VcpuResult } from './run-result.js';

type Figures = Pick<
  RunResult,
  | 'faults'
  | 'latencyMicroseconds'
  | 'resolveMicroseconds'
  | 'perFault'
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
  return {
    faults: { count, outcomes },
    latencyMicroseconds: complete ? guestLatency(machine, judgement.maxCycles) : null,
    resolveMicroseconds: resolveLatency(crew),
    perFault,
    notMeasured,
    guestSeconds,
    pagesPerSecond:
      touched === null || guestSeconds === null ? null : Math.round(touched / guestSeconds),
    perVcpu: crew.vcpuFinishes.map(({ end, perf, heap, began, ended }, index): VcpuResult => {
      const row = rows[index]!;
      const seconds = (ended - began) / 1e9;
      const faults = machine.delivery.trapped ? row.faults : null;
      return {
        index,
        end: end.vcpu.reason,
        exitCode: end.vcpu.reason === 'exited' ? end.vcpu.code : null,
        faults,
        pagesPerSecond: faults === null ? null : Math.round(row.installed / seconds),
        kvmRuns: row.kvmRuns,
        ramAccesses: row.ramAccesses,
        report: [...end.report],
        contextSwitches: perf.contextSwitches.value,
        heap,
      };
    }),
    perHandler: crew.handlerFinishes.map(
      ({ perf, heap }, index): HandlerResult => ({
        index,
        faults: rows[machine.vcpus.length + index]!.faults,
        contextSwitches: perf.contextSwitches.value,
        heap,
      }),
    ),
  };
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
  const timed = total('timedFaults');
  const microseconds = (name: 'userNanoseconds' | 'allocateNanoseconds'): Measured =>
    timed > 0
      ? { value: (total(name) / timed / 1000) * faults }
      : { value: null, why: `delivery ${machine.delivery.name} resolved no fault in userspace` };
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
    syscalls: per('syscalls', { value: total('syscalls') }),
    userMicroseconds: per('userMicroseconds', microseconds('userNanoseconds')),
    allocateMicroseconds: per('allocateMicroseconds', microseconds('allocateNanoseconds')),
  };
  return { perFault, notMeasured };
}

/** From the histograms that the guest keeps in its own memory, in cycles of its TSC. */
function guestLatency(machine: Machine, maxCycles: number | null): Percentiles | null {
  const { note } = machine.image;
  if (note === null || note.histograms === 0 || maxCycles === null) {
    return null;
  }
  const { aliasAddress } = machine.memory.layout;
  const histograms = machine.vcpus.map((_, index) => {
    const address = aliasAddress + note.histograms + index * note.histogramStride;
    return new Uint32Array(viewOf(address, HISTOGRAM_BYTES));
  });
  const microsecondsPerCycle = 1000 / machine.vcpus[0]!.tscKilohertz();
  return percentilesOf(mergeHistograms(histograms), maxCycles, microsecondsPerCycle);
}

function resolveLatency(crew: Crew): Percentiles | null {
  const histograms = Array.from({ length: crew.threads }, (_, thread) =>
    histogramRow(crew.histograms, thread),
  );
  return percentilesOf(mergeHistograms(histograms), null, 1 / 1000);
}
