/** Figures that cannot both be true are found, whichever of them is wrong. */
import fc from 'fast-check';
import t from 'tap';
import { findContradiction } from '../../bench/scale/contradiction.js';
import { verifiedRun } from '../../bench/scale/verified-run.js';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { kvmSkip } from '../support/host.js';

const MIB = 2 ** 20;
const skip = kvmSkip();
t.setTimeout(120_000);

const options = {
  image: 'touch',
  memoryBytes: 4 * MIB,
  params: { pages: '300', write: '50' },
  countKernelEvents: false,
} as const satisfies RunOptions;

const ways: readonly Partial<RunOptions>[] = [
  { delivery: 'kernel' },
  { delivery: 'kernel', backing: 'anon-private', vcpus: 2 },
  { delivery: 'exit', vcpus: 2 },
  { delivery: 'exit', vcpus: 3, params: { pages: '200', share: 'overlap', order: 'random' } },
  { delivery: 'handler', vcpus: 3, handlers: 2, uffds: 'per-vcpu' },
  { delivery: 'handler', vcpus: 4, handlers: 3, params: { pages: '200', share: 'overlap' } },
  { delivery: 'exit', unitBytes: 65536, params: { pages: '100', every: '5', passes: '2' } },
  { delivery: 'handler', around: 7, backing: 'anon-private' },
  { delivery: 'exit', around: 'adaptive', prefetch: { bytesPerSecond: null } },
  { delivery: 'exit', delayMicroseconds: 300, params: { pages: '50' } },
  { delivery: 'handler', delayMicroseconds: 300, handlers: 2, params: { pages: '50' } },
];

t.test('runs of every kind agree with themselves', { skip }, async (t) => {
  for (const way of ways) {
    const run = await runGuest({ ...options, ...way });
    t.equal(run.outcome, 'completed', run.error?.message ?? 'it completes');
    t.equal(findContradiction(run), null, JSON.stringify(way));
  }
});

/** Figures of a run, by path, and what may be made of them. */
type Tampering = readonly [path: string, change: (value: number) => number];

const tamperings: readonly Tampering[] = [
  ['pages.touched', (value) => value - 1],
  ['pages.mismatched', () => 1],
  ['pages.poisoned', () => 3],
  ['memoryErrors.count', () => 1],
  ['source.failures', () => 1],
  ['faults.count', (value) => value + 1],
  ['faults.count', (value) => value - 1],
  ['faults.outcomes.installed', (value) => value - 1],
  ['faults.outcomes.present', (value) => value + 1],
  ['faults.outcomes.populated', (value) => value + 1],
  ['faults.outcomes.memory-error', () => 1],
  ['faults.neighbours', (value) => value + 1],
  ['perVcpu.0.kvmRuns', (value) => value + 1],
  ['perVcpu.1.kvmRuns', () => 0],
  ['perVcpu.0.report.0', (value) => value - 1],
  ['perVcpu.1.exitCode', () => 1],
  ['latencyHistogram.counts.0', (value) => value + 1],
  ['latencyMicroseconds.p99', () => 0],
  ['latencyMicroseconds.p50', () => 1e12],
  ['pagesPerSecond', (value) => value * 1.1],
  ['pagesPerSecond', () => Number.NaN],
  ['guestSeconds', (value) => value / 2],
  ['guestSeconds', (value) => value + 1e6],
];

function tampered(run: RunResult, path: string, change: (value: number) => number): RunResult {
  const copy = structuredClone(run);
  const names = path.split('.');
  const last = names.pop()!;
  let at = copy as unknown as Record<string, unknown>;
  for (const name of names) {
    at = at[name] as Record<string, unknown>;
  }
  at[last] = change(at[last] as number);
  return copy;
}

for (const delivery of ['exit', 'handler'] as const) {
  t.test(
    `a wrong counter fails the bench, as a defect of ours: ${delivery}`,
    { skip },
    async (t) => {
      const honest = await runGuest({ ...options, delivery, vcpus: 2, handlers: 2 });
      t.equal(findContradiction(honest), null);
      const more: Tampering[] =
        delivery === 'exit'
          ? [['perVcpu.0.faults', (value) => value + 1]]
          : [['perHandler.1.faults', (value) => value + 1]];
      for (const [path, change] of [...tamperings, ...more]) {
        const run = async (): Promise<RunResult> => tampered(honest, path, change);
        await t.rejects(
          verifiedRun(options, run),
          { code: /defect|unsupported/, message: /contradict each other: |verified/ },
          path,
        );
      }
    },
  );
}

t.test('so does one of a run in which nothing is trapped', { skip }, async (t) => {
  const honest = await runGuest({ ...options, delivery: 'kernel', vcpus: 2 });
  for (const path of ['faults.outcomes.installed', 'faults.neighbours', 'perVcpu.0.kvmRuns']) {
    t.match(findContradiction(tampered(honest, path, (value) => value + 1)), / are \d+/, path);
  }
});

t.test('pages that came sooner than they were delayed are found', { skip }, async (t) => {
  const run = await runGuest({ ...options, delivery: 'exit', delayMicroseconds: 500, vcpus: 2 });
  const config = { ...run.config, delayMicroseconds: 500_000 };
  t.match(findContradiction({ ...run, config }), /what its faults were delayed/);
});

t.test('any histogram that has lost or gained an access is found', { skip }, async (t) => {
  const run = await runGuest({ ...options, delivery: 'exit' });
  const { counts } = run.latencyHistogram!;
  fc.assert(
    fc.property(
      fc.nat(counts.length - 1),
      fc.integer({ min: -300, max: 300 }).filter((by) => by !== 0),
      (at, by) =>
        findContradiction(tampered(run, `latencyHistogram.counts.${at}`, (n) => n + by)) !== null,
    ),
  );
  t.pass();
});

t.test('a run that did not verify is no result, whatever its counters say', async (t) => {
  const failing = (outcome: string, code: string) => async () =>
    ({
      outcome,
      error: { code, message: 'as it was', hint: '' },
      delivery: { used: 'exit' },
    }) as RunResult;
  for (const outcome of ['mismatch', 'memory-error', 'shutdown', 'timeout', 'error']) {
    await t.rejects(verifiedRun(options, failing(outcome, outcome)), {
      code: 'guest',
      message: `a run under delivery exit ended as ${outcome}: as it was`,
    });
  }
  await t.rejects(verifiedRun(options, failing('error', 'interrupted')), { code: 'interrupted' });
});
