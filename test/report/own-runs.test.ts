import { join } from 'node:path';
import t from 'tap';
import type { RunResult } from '../../src/machine/run-result.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import type { ExitsSummary } from '../../src/report/exits-result.js';
import { whyItsRunsDeny } from '../../src/report/own-runs.js';
import { type Result, readResult } from '../../src/report/read-results.js';
import { benchSet, contentionResult, faultsResult, runResult } from '../support/bench-results.js';
import { otherBenches } from '../support/other-benches.js';

const run = runResult();

/** A bench with a run among others. */
function withRun(changed: Partial<RunResult>): BenchResult {
  return { ...contentionResult(), runs: [run, { ...run, ...changed }] };
}

t.test('what benches write is not contradicted by its runs', async (t) => {
  for (const bench of [faultsResult(), contentionResult(), ...otherBenches()]) {
    t.equal(whyItsRunsDeny(bench), null, bench.bench);
  }
  t.equal(whyItsRunsDeny(benchSet([faultsResult(), ...otherBenches()])), null);
});

t.test('a run in a bench has completed and verified', async (t) => {
  const { pages } = run;
  for (const [changed, why] of [
    [{ outcome: 'timeout' }, '/runs/1 ended as timeout'],
    [{ pages: { ...pages, mismatched: 3 } }, '/runs/1 has 3 wrong pages'],
    [{ pages: { ...pages, verified: 8191 } }, '/runs/1 verified 8191 of 8192 pages touched'],
    [{ pages: { ...pages, verified: null } }, '/runs/1 verified none of 8192 pages touched'],
  ] as const) {
    t.equal(whyItsRunsDeny(withRun(changed)), why);
    t.equal(whyItsRunsDeny({ ...run, ...changed }), null, 'by itself it says how it ended');
    t.equal(
      whyItsRunsDeny(benchSet([faultsResult(), withRun(changed)])),
      `/results/1${why}`,
      'in a set',
    );
  }
});

t.test('a median is within its range, wherever it is', async (t) => {
  const bench = faultsResult();
  const changed = JSON.parse(JSON.stringify(bench)) as typeof bench;
  Object.assign(changed.summary.curves[1]!.points[2]!.p99Microseconds!, { median: 1e6 });
  t.match(
    whyItsRunsDeny(changed),
    /^\/summary\/curves\/1\/points\/2\/p99Microseconds is 1000000, outside of its range /,
  );
  const overhead = otherBenches().find((other) => other.bench === 'overhead')!;
  const [row] = overhead.summary as readonly object[];
  t.equal(
    whyItsRunsDeny({ ...overhead, summary: [{ ...row, ratio: 0.5, lowest: 0.9, highest: 1 }] }),
    '/summary/0 is 0.5, outside of its range 0.9 to 1',
  );
});

t.test('rows of exits are what their runs have counted', async (t) => {
  const exits = otherBenches().find(({ bench }) => bench === 'exits')!;
  const { rows } = exits.summary as ExitsSummary;
  const withRows = (changed: readonly object[]): BenchResult => ({
    ...exits,
    summary: { ...(exits.summary as ExitsSummary), rows: changed },
  });
  const counts = {
    mmapLockAcquisitions: 0,
    slowGup: 0,
    userfaults: 0,
    kvmRuns: 1,
    contextSwitches: 'nothing',
  };
  for (const [name, counted] of Object.entries(counts)) {
    t.equal(
      whyItsRunsDeny(withRows([rows[0]!, { ...rows[1], [name]: 77 }])),
      `/summary/rows/1/${name} is 77, and its run counted ${counted}`,
    );
  }
  t.equal(
    whyItsRunsDeny({ ...exits, runs: exits.runs.slice(1) }),
    '/summary/rows/0 has no run that counted',
  );
  t.equal(whyItsRunsDeny(withRows([rows[1]!])), '/summary/rows has none for handler, which ran');
});

t.test('figures have runs', async (t) => {
  for (const bench of [faultsResult(), contentionResult(), ...otherBenches()]) {
    const why = whyItsRunsDeny({ ...bench, runs: [] });
    // What a soak says of its runs are sums.
    t.equal(
      why,
      bench.bench === 'soak' ? null : '/runs is empty, and there are figures',
      bench.bench,
    );
  }
  const nothing = {
    ...faultsResult(),
    runs: [],
    summary: { ...faultsResult().summary, curves: [] },
  };
  t.equal(whyItsRunsDeny(nothing), null, 'of nothing there need be none');
});

t.test('a point of faults is as fast as its runs', async (t) => {
  const bench = faultsResult();
  const [first, ...others] = bench.runs as readonly RunResult[];
  const faster = { ...first!, pagesPerSecond: first!.pagesPerSecond! * 2 };
  const slower = { ...first!, pagesPerSecond: first!.pagesPerSecond! / 2 };
  const elsewhere = { ...faster, config: { ...first!.config, vcpus: 64 } };
  t.match(
    whyItsRunsDeny({ ...bench, runs: [faster, ...others] }),
    /^\/summary\/curves\/1\/points\/2 has \d+.* pages\/s, outside of what its runs have$/,
  );
  t.equal(whyItsRunsDeny({ ...bench, runs: [faster, slower, ...others] }), null);
  t.equal(whyItsRunsDeny({ ...bench, runs: [first, elsewhere, ...others] }), null);
});

t.test('such a file is refused, and says where', async (t) => {
  const odd = {
    ...faultsResult(),
    summary: { '\n\u001b[31m': { median: 3, lowest: 1, highest: 2 }, ...faultsResult().summary },
  };
  for (const result of [withRun({ outcome: 'mismatch' }), odd] as Result[]) {
    const path = join(t.testdir({ 'result.json': JSON.stringify(result) }), 'result.json');
    try {
      readResult(path);
      t.fail('it was taken');
    } catch (error) {
      const { code, message } = error as Error & { code: string };
      t.equal(code, 'usage');
      t.ok(message.startsWith(`${path} contradicts itself: /`), message);
      t.notOk(message.includes('\n') || message.includes('\u001b'), 'nothing drives the terminal');
    }
  }
});
