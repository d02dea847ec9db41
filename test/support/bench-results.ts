/** Results as benches write them, made by hand: what draws and compares them needs no KVM. */
import type { RunResult } from '../../src/machine/run-result.js';
import type { HostDescription } from '../../src/measure/host.js';
import type { ScalingFit } from '../../src/measure/scaling-law.js';
import type { BenchResult, BenchSet, Figure } from '../../src/report/bench-result.js';
import type {
  ContentionRow,
  ContentionSummary,
  LockShare,
} from '../../src/report/contention-result.js';
import type { FaultsCurve, FaultsSummary } from '../../src/report/faults-result.js';

export const HOST: HostDescription = {
  kernel: '6.8.0-45-generic',
  kvmModule: 'kvm_intel',
  paging: 'hardware',
  cpus: 8,
  cpuModel: 'Intel(R) Xeon(R) Gold 6430',
  memoryBytes: 64 * 2 ** 30,
  node: 'v20.19.2',
  version: '0.1.0',
};

/** A median and its range: `percent` to both sides. */
export function around(median: number, percent = 3, runs = 5): Figure {
  const part = (median * percent) / 100;
  return { median, lowest: median - part, highest: median + part, runs };
}

const law = (lambda: number, sigma: number, kappa: number, n: number): number =>
  (lambda * n) / (1 + sigma * (n - 1) + kappa * n * (n - 1));

function fitOf(lambda: number, sigma: number, kappa: number, measuredTo: number): ScalingFit {
  const about = (value: number) => ({ value, low: value * 0.9, high: value * 1.1 });
  const peak = kappa === 0 ? null : Math.sqrt((1 - sigma) / kappa);
  return {
    fitted: true,
    lambda: about(lambda),
    contention: about(sigma),
    coherency: about(kappa),
    rSquared: 0.993,
    peak: peak === null ? null : { vcpus: peak, pagesPerSecond: law(lambda, sigma, kappa, peak) },
    measuredTo,
    predictions: [64, 256, 1024].map((vcpus) => {
      const pagesPerSecond = law(lambda, sigma, kappa, vcpus);
      return {
        vcpus,
        pagesPerSecond,
        low: pagesPerSecond * 0.7,
        high: pagesPerSecond * 1.4,
      };
    }),
    verdict: `Contention limits: ${(sigma * 100).toFixed(1)} % of the work is serial.`,
  };
}

/** A curve that follows the law, with some unevenness. */
export function curveOf(
  label: string,
  subject: Partial<FaultsCurve['subject']>,
  [lambda, sigma, kappa]: readonly [number, number, number],
  vcpus: readonly number[] = [1, 2, 4, 8, 16, 32],
): FaultsCurve {
  return {
    label,
    subject: {
      delivery: 'exit',
      backing: 'shmem',
      uffds: 'one',
      handlers: 1,
      share: 'partition',
      order: 'sequential',
      delayMicroseconds: 0,
      pin: null,
      ...subject,
    },
    points: vcpus.map((n, index) => {
      const pagesPerSecond = law(lambda, sigma, kappa, n) * (index % 2 === 0 ? 1.02 : 0.98);
      const p50 = (n / pagesPerSecond) * 1e6;
      const first = 2 ** Math.floor(Math.log2(p50) - 1);
      return {
        vcpus: n,
        pagesPerSecond: around(pagesPerSecond, 4),
        p50Microseconds: around(p50, 5),
        p99Microseconds: around(p50 * 4.2, 20),
        latency: {
          fromMicroseconds: [1, 2, 4, 8, 16, 32].map((factor) => first * factor),
          counts: [120, 20480, 14000, 5200, 1100, 60].map((count) => count * n),
        },
        pagesVerified: 8192 * n,
        disturbed: n === 16 ? 1 : 0,
        told: 3,
      };
    }),
    fit: fitOf(lambda, sigma, kappa, vcpus.at(-1)!),
  };
}

function benchResult<Summary>(
  bench: string,
  command: string,
  constant: Readonly<Record<string, string | number>>,
  summary: Summary,
  runs: readonly unknown[],
): BenchResult<unknown, Summary> {
  return {
    schema: 'faultline.bench/1',
    bench,
    host: HOST,
    startedAt: '2026-11-20T09:30:00.000Z',
    command,
    constant,
    runs,
    summary,
  };
}

export function faultsSummary(curves?: readonly FaultsCurve[]): FaultsSummary {
  return {
    curves: curves ?? [
      curveOf('kernel', { delivery: 'kernel' }, [610_000, 0.09, 0.0002]),
      curveOf('exit', {}, [210_000, 0.06, 0.0006]),
      curveOf('handler', { delivery: 'handler' }, [120_000, 0.55, 0.004]),
      {
        ...curveOf('handler, per-vcpu', { delivery: 'handler', uffds: 'per-vcpu' }, [1e5, 0.3, 0]),
        fit: { fitted: false, why: 'Four points are too few for three coefficients.' },
      },
    ],
    published: [
      {
        reference: 'moorthy-2024',
        label: 'Moorthy 2024, exits',
        source: 'Anish Moorthy, KVM: Stop on missing, 256-core x86, one userfaultfd, shmem',
        points: [
          { vcpus: 1, pagesPerSecond: 340_000 },
          { vcpus: 4, pagesPerSecond: 809_000 },
          { vcpus: 16, pagesPerSecond: 1_595_000 },
          { vcpus: 64, pagesPerSecond: 3_482_000 },
        ],
      },
    ],
    leftOut: [
      {
        label: 'exit, hugetlb-1G',
        reason: 'its pages are 1G, and one fault brings in 64M at most',
      },
    ],
    repeat: 5,
    warmUps: 1,
  };
}

export function faultsResult(
  curves?: readonly FaultsCurve[],
  runs?: readonly unknown[],
): BenchResult<unknown, FaultsSummary> {
  return benchResult(
    'faults',
    'faultline bench faults --vcpus 1,2,4,8,16,32 --pages 8192 --repeat 5 --reference moorthy-2024',
    { image: 'touch', pages: 8192, write: 100, unitBytes: 4096 },
    faultsSummary(curves),
    runs ?? [runOf('exit'), { ...runOf('handler'), otherCpus: 0.5 }],
  );
}

/** A run as fast as the point of `faultsSummary` that it is of. */
function runOf(delivery: 'exit' | 'handler'): RunResult {
  const run = runResult(delivery);
  const { points } = faultsSummary().curves.find(({ label }) => label === delivery)!;
  const { median } = points.find(({ vcpus }) => vcpus === run.config.vcpus)!.pagesPerSecond;
  return { ...run, pagesPerSecond: median };
}

function lockShare(acquisitions: number, wait: number | null, hold: number | null): LockShare {
  return {
    acquisitions: around(acquisitions, 0.5),
    waitMicroseconds: wait === null ? null : around(wait, 10),
    holdMicroseconds: hold === null ? null : around(hold, 6),
  };
}

/** A row that nothing is special about. */
export function contentionRow(
  label: string,
  given: Partial<ContentionRow> & Pick<ContentionRow, 'read' | 'write'>,
): ContentionRow {
  return {
    label,
    delivery: 'exit',
    backing: 'shmem',
    vcpus: 4,
    handlers: 0,
    writers: 0,
    writesPerSecond: null,
    faults: around(32768, 0),
    pagesVerified: 32768,
    byThread: [{ threads: 'vcpus', read: given.read, write: given.write }],
    contextSwitches: around(0.01),
    kvmRuns: around(1.01, 0.1),
    pageFaultRetries: null,
    pagesPerSecond: around(230_000),
    p50Microseconds: around(15),
    p99Microseconds: around(61, 15),
    disturbed: 0,
    told: 3,
    ...given,
  };
}

export function contentionResult(): BenchResult<unknown, ContentionSummary> {
  const rows = [
    contentionRow('kernel', {
      delivery: 'kernel',
      read: lockShare(1, 0.05, 1.1),
      write: lockShare(0, 0, 0),
    }),
    contentionRow('handler', {
      delivery: 'handler',
      handlers: 1,
      read: lockShare(4, 1.9, 3.2),
      write: lockShare(0.002, 0.01, 0.02),
      contextSwitches: around(2.01),
      pagesPerSecond: around(88_000),
      p50Microseconds: around(41),
    }),
    contentionRow('exit', { read: lockShare(1, 0.1, 1.2), write: lockShare(0.001, 0, 0.01) }),
    contentionRow('handler, 2 writers', {
      delivery: 'handler',
      handlers: 1,
      writers: 2,
      writesPerSecond: around(20_000),
      read: lockShare(4.02, 7.9, 3.6),
      write: lockShare(0.4, 2.2, 1.4),
      byThread: [],
      contextSwitches: around(2.6),
      disturbed: 1,
      told: 3,
    }),
  ];
  return benchResult(
    'contention',
    'faultline bench contention --vcpus 4 --writers 0,2 --repeat 5',
    { image: 'touch', pages: 8192, write: 100, unitBytes: 4096, vcpus: 4 },
    {
      rows,
      calls: [
        { call: 'UFFDIO_CONTINUE', calls: 4096, read: 1, write: 0, note: 'for read, every time' },
        { call: 'MADV_POPULATE_WRITE', calls: 4096, read: null, write: null, note: 'not counted' },
      ],
      notMeasured: { pageFaultRetries: 'this kernel has no counter of page fault retries' },
      repeat: 5,
      warmUps: 1,
    },
    [runResult('exit'), runResult('handler')],
  );
}

export function benchSet(results: readonly BenchResult[]): BenchSet {
  return {
    schema: 'faultline.benches/1',
    host: HOST,
    startedAt: '2026-11-20T09:30:00.000Z',
    command: 'faultline bench all',
    results,
  };
}

/** A run of `touch` that completed. */
export function runResult(delivery: 'exit' | 'handler' = 'exit'): RunResult {
  const latency = { p50: 14.2, p90: 18.1, p99: 61.5, p999: 210, max: 1301.5 };
  return {
    schema: 'faultline.run/1',
    image: 'touch',
    outcome: 'completed',
    error: null,
    config: {
      firmware: false,
      memoryBytes: 64 * 2 ** 20,
      backing: 'shmem',
      reserve: true,
      exitBy: 'auto',
      strategy: 'no-slow-gup',
      unitBytes: 4096,
      around: 0,
      collapse: 'never',
      prefetch: null,
      discard: null,
      vcpus: 4,
      handlers: 1,
      uffds: 'one',
      network: null,
      delayMicroseconds: 0,
      writers: null,
      traceLocks: false,
      countFaultRetries: false,
      countKernelCalls: false,
      poison: [],
      onMemoryError: 'stop',
      sourceRetries: 3,
      load: 'auto',
      commandLine: '',
      initrd: null,
      pin: { vcpu: [0, 1], handler: [1] },
      timeoutSeconds: 60,
      countKernelEvents: true,
      source: 'pattern:1',
      failSource: [],
      params: { pages: 8192, order: 'sequential', write: 100 },
    },
    delivery: {
      requested: delivery,
      used: delivery,
      reportedBy: delivery === 'exit' ? 'trap-marker' : 'message',
      exitBy: delivery === 'exit' ? 'trap-marker' : null,
      userfaultfds: 1,
      why: 'asked for',
    },
    pages: {
      bytesPerPage: 4096,
      touched: 8192,
      verified: 8192,
      mismatched: 0,
      discarded: null,
      poisoned: 0,
    },
    memoryErrors: { count: 0, records: [] },
    faults: {
      count: 8192,
      neighbours: 0,
      outcomes: {
        installed: 8192,
        present: 0,
        populated: 0,
        remapped: 0,
        retried: 0,
        'memory-error': 0,
      },
    },
    source: { retries: 0, failures: 0 },
    latencyMicroseconds: latency,
    firstInstructionMicroseconds: latency,
    latencyHistogram: { fromMicroseconds: [8, 16, 32], counts: [7000, 1100, 92] },
    locks: null,
    pageFaultRetries: null,
    kernelCalls: null,
    otherCpus: 0.02,
    resolveMicroseconds: { p50: 4.1, p90: 5, p99: 9.2, p999: 80, max: 600 },
    perFault: {
      mmapLockAcquisitions: delivery === 'exit' ? 1 : 4,
      contextSwitches: delivery === 'exit' ? 0.01 : 2,
      kvmRuns: 1,
      kvmExits: null,
      syscalls: 3,
      userMicroseconds: 0.9,
      allocateMicroseconds: null,
    },
    notMeasured: { allocateMicroseconds: 'UFFDIO_COPY allocates the page itself' },
    startup: null,
    background: [],
    hugePages: {
      mappedBytes: { start: 0, guestEnd: 0, end: 0 },
      collapsedWhileRunning: 0,
      collapsedAtEnd: 0,
      failures: {},
    },
    hugetlb: null,
    wallSeconds: 0.41,
    guestSeconds: 0.12,
    pagesPerSecond: delivery === 'exit' ? 68_266 : 21_340,
    perVcpu: [],
    perHandler: [],
    host: HOST,
  };
}
