/**
 * What `make lab` has measured: what a fault goes through in the kernel, by each way of telling
 * userspace of it. The counts are exact; of the times only one is held, beside a thread that keeps
 * mmap_lock for write. Runs outside of the emulated machine, on the files that are kept.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { RunResult } from '../../src/machine/run-result.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import type { ContentionSummary } from '../../src/report/contention-result.js';
import type { ExitRun, ExitsSummary } from '../../src/report/exits-result.js';
import type { FaultsSummary } from '../../src/report/faults-result.js';

const { FAULTLINE_LAB_RESULTS: folder } = process.env;
const skip = folder === undefined && 'looks at what make lab has measured';
const suiteSkip =
  skip || (!existsSync(file('contention-1')) && 'make lab-suite measures by numbers of vCPUs');
/** Of a thread's start and end, spread over the faults. */
const NOISE = 0.05;

/** Per fault, as counted by the same loops in C on Linux 6.12; on 7.3 a marker is met by GUP itself. */
const countsOn = (kernel: string) => ({
  kernel: counts(1, 1, 0, 0, 0),
  handler: counts(4, 2, 2, 0, 2),
  'exit: missing': counts(0, 0, 0, 1, 0),
  'exit: userfault': counts(1, 1, 1, 1, 0),
  'exit: trap-marker': counts(kernel.startsWith('6.') ? 2 : 1, 1, 0, 1, 0),
});

/** How much sooner a fault is over than with a handler, beside a thread that keeps mmap_lock. */
const LEAST_GAIN = 5;
const VCPUS = [1, 2, 4];

function counts(
  mmapLockAcquisitions: number,
  slowGup: number,
  userfaults: number,
  kvmRuns: number,
  contextSwitches: number,
) {
  return { mmapLockAcquisitions, slowGup, userfaults, kvmRuns, contextSwitches };
}

function file(name: string): string {
  return join(folder!, `lab-${name}.json`);
}

function read<Run, Summary>(name: string): BenchResult<Run, Summary> {
  return JSON.parse(readFileSync(file(name), 'utf8')) as never;
}

const isNear = (found: number | null, wanted: number): boolean =>
  found !== null && Math.abs(found - wanted) <= NOISE * Math.max(wanted, 1);

t.test('every way of telling userspace of a missing page', { skip }, async (t) => {
  const { summary, runs, host } = read<ExitRun, ExitsSummary>('exits');
  const wantedCounts = countsOn(host.kernel);
  const rows = new Map(summary.rows.map((row) => [row.label, row]));
  t.strictSame([...rows.keys()].sort(), Object.keys(wantedCounts).sort());
  for (const [label, wanted] of Object.entries(wantedCounts)) {
    for (const [name, count] of Object.entries(wanted)) {
      const found = rows.get(label)?.[name as keyof typeof wanted] ?? null;
      t.ok(isNear(found, count), `${label}: ${name} ${found?.toFixed(3)}, to be ${count}`);
    }
  }
  const pressed = (label: string): number =>
    rows.get(label)?.pressedMeanMicroseconds?.median ?? Number.NaN;
  const gain = pressed('handler') / pressed('exit: missing');
  t.ok(gain >= LEAST_GAIN, `beside mprotect of 64 MiB ${gain.toFixed(1)} times as fast`);
  t.ok(runs.every(({ outcome }) => outcome === 'completed'));
});

t.test('by numbers of vCPUs', { skip: suiteSkip }, async (t) => {
  const { summary, runs } = read<RunResult, FaultsSummary>('faults');
  t.strictSame(
    summary.curves.map(({ points }) => points.map(({ vcpus }) => vcpus)),
    [VCPUS, VCPUS],
  );
  t.ok(runs.every(({ outcome }) => outcome === 'completed'));
});

for (const vcpus of VCPUS) {
  t.test(`who takes mmap_lock, with ${vcpus} vCPUs`, { skip: suiteSkip }, async (t) => {
    const { summary } = read<RunResult, ContentionSummary>(`contention-${vcpus}`);
    for (const [label, wanted] of [
      ['handler', 4],
      ['exit', 0],
    ] as const) {
      const row = summary.rows.find((row) => row.label === label);
      const found = row?.read.acquisitions.median ?? null;
      t.equal(row?.vcpus, vcpus);
      t.ok(isNear(found, wanted), `${label}: ${found?.toFixed(3)}, to be ${wanted}`);
    }
  });
}

t.test(
  'UFFDIO_CONTINUE does without mmap_lock, which the mail thought it needed',
  { skip: suiteSkip },
  async (t) => {
    const { summary } = read<RunResult, ContentionSummary>('contention-1');
    const row = summary.calls.find(({ call }) => call === 'UFFDIO_CONTINUE');
    t.match(row, { read: 0, write: 0 });
  },
);
