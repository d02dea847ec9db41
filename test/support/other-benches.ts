/** Results of the benches that stand in tables more than in charts, made by hand. */
import type { VcpuResult } from '../../src/machine/run-result.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import type { DeliveryRow, LabelledRun } from '../../src/report/deliveries-result.js';
import type { ExitRow, ExitRun, ExitsSummary } from '../../src/report/exits-result.js';
import type { OverheadRow, Pair } from '../../src/report/overhead-result.js';
import type { SoakRun, SoakSummary } from '../../src/report/soak-result.js';
import { METRICS, type UnitsSummary } from '../../src/report/units-result.js';
import { around, HOST, runResult } from './bench-results.js';

function resultOf<Run, Summary>(
  bench: string,
  runs: readonly Run[],
  summary: Summary,
): BenchResult<Run, Summary> {
  return {
    schema: 'faultline.bench/1',
    bench,
    host: HOST,
    startedAt: '2026-11-20T10:00:00.000Z',
    command: `faultline bench ${bench}`,
    constant: { image: 'touch', pages: 8192 },
    runs,
    summary,
  };
}

export function deliveriesResult(): BenchResult<LabelledRun, readonly DeliveryRow[]> {
  const labels = ['handler, same CPU', 'exit'];
  const runs = labels.flatMap((label) =>
    [1, 1.05, 1.1].map((factor, round): LabelledRun => {
      const run = runResult(label === 'exit' ? 'exit' : 'handler');
      return { ...run, label, counted: round === 2, pagesPerSecond: run.pagesPerSecond! * factor };
    }),
  );
  const summary = labels.map((label) => ({
    label,
    faults: 8192,
    p50Microseconds: 14.2,
    p99Microseconds: 61.5,
    pagesPerSecond: 21_000,
    mmapLockAcquisitions: label === 'exit' ? 1 : 4,
    contextSwitches: label === 'exit' ? 0 : 2,
    pagesVerified: 8192,
  }));
  return resultOf('deliveries', runs, summary);
}

function exitsResult(): BenchResult<ExitRun, ExitsSummary> {
  const row = (label: string, locks: number, returns: number, pressed: number): ExitRow => ({
    label,
    mmapLockAcquisitions: locks,
    slowGup: locks / 2,
    userfaults: 2 - 2 * returns,
    kvmRuns: returns,
    contextSwitches: null,
    p50Microseconds: around(90),
    pressedP50Microseconds: around(pressed),
    pressedMeanMicroseconds: around(pressed * 1.2),
  });
  const rows = [row('handler', 4, 0, 9500), row('exit: missing', 0, 1, 1100)];
  const runs = rows.flatMap((counts) =>
    (['counted', 'timed', 'pressed'] as const).map((part): ExitRun => {
      const { label, mmapLockAcquisitions, contextSwitches } = counts;
      const run = runResult(label === 'handler' ? 'handler' : 'exit');
      const inAll = (perEach: number | null): number => perEach! * run.faults.count;
      const vcpu: VcpuResult = {
        index: 0,
        end: 'exited',
        exitCode: 0,
        faults: run.faults.count,
        pagesPerSecond: run.pagesPerSecond,
        kvmRuns: inAll(counts.kvmRuns) + 2,
        ramAccesses: 0,
        portAccesses: 2,
        report: [],
        contextSwitches: null,
        heap: { collections: 0, grownBytes: 0 },
      };
      return {
        ...run,
        perFault: { ...run.perFault, mmapLockAcquisitions, contextSwitches },
        kernelCalls: { slowGup: inAll(counts.slowGup), userfaults: inAll(counts.userfaults) },
        perVcpu: [vcpu],
        label,
        part,
      };
    }),
  );
  return resultOf('exits', runs, { rows, leftOut: [{ label: 'exit: userfault', why: 'no flag' }] });
}

function overheadResult(): BenchResult<Pair, readonly OverheadRow[]> {
  const pair = (delivery: 'exit' | 'handler', ratio: number): Pair => ({
    delivery,
    typescriptSeconds: ratio,
    cSeconds: 1,
    otherCpus: 0,
    ratio,
    userMicroseconds: 0.9,
    allocateMicroseconds: null,
    resolveP50Microseconds: 4,
    pagesVerified: 16_384,
  });
  const row = (delivery: 'exit' | 'handler', ratio: number): OverheadRow => ({
    delivery,
    pairs: 2,
    ratio,
    lowest: ratio - 0.05,
    highest: ratio + 0.05,
    userMicroseconds: 0.9,
    allocateMicroseconds: null,
  });
  return resultOf(
    'overhead',
    [pair('exit', 0.96), pair('exit', 1.06), pair('handler', 1.05), pair('handler', 1.15)],
    [row('exit', 1.01), row('handler', 1.1)],
  );
}

function unitsResult(): BenchResult<unknown, UnitsSummary> {
  const units = [4096, 65_536, 2 ** 21];
  const backings = ['shmem', 'hugetlb-private-2M'] as const;
  const rows = METRICS.flatMap((metric) =>
    backings.map((backing) => ({
      network: '1G:100',
      metric,
      backing,
      figures: units.map((unitBytes, index) =>
        backing === 'shmem' || unitBytes === 2 ** 21 ? around(220 / (index + 1), 8, 3) : null,
      ),
      best: backing === 'shmem' ? { unitBytes: 2 ** 21, amongst: [2 ** 21], ratio: 0.33 } : null,
    })),
  );
  return resultOf('units', [runResult('exit')], {
    units,
    networks: [{ bitsPerSecond: 1e9, latencyMicroseconds: 100 }],
    subjects: [],
    leftOut: [{ backing: 'hugetlb-1G', reason: 'its pages are 1G' }],
    rows,
  });
}

function soakResult(): BenchResult<SoakRun, SoakSummary> {
  const holdings = {
    descriptors: 0,
    guestMappings: 0,
    mappings: 400,
    threads: 12,
    residentBytes: 9e7,
  };
  const command =
    'faultline run touch --memory 67108864 --backing shmem --delivery exit --vcpus 8 --unit 4096';
  return resultOf(
    'soak',
    [{ command, seconds: 0.4, faults: 900, pagesVerified: 900, pagesPoisoned: 0 }],
    {
      minutes: 1,
      seed: 1,
      runs: 1,
      faults: 900,
      pagesVerified: 900,
      pagesPoisoned: 0,
      before: holdings,
      after: { ...holdings, mappings: 433 },
    },
  );
}

export function otherBenches(): BenchResult[] {
  return [deliveriesResult(), exitsResult(), overheadResult(), unitsResult(), soakResult()];
}
