/** What the schemas take, and what they refuse; test/cli/report.test.ts has the output of real runs. */
import t from 'tap';
import { whyNoResult } from '../../src/report/result-schema.js';
import { benchSet, contentionResult, faultsResult, runResult } from '../support/bench-results.js';
import { otherBenches } from '../support/other-benches.js';

/** A copy of a result, as its file would have it, with one thing changed. */
function changed(result: unknown, path: string, value: unknown): unknown {
  const copy = JSON.parse(JSON.stringify(result));
  const names = path.split('/');
  const last = names.pop()!;
  const holder = names.reduce((at, name) => at[name], copy);
  if (value === undefined) {
    delete holder[last];
  } else {
    holder[last] = value;
  }
  return copy;
}

const benches = [faultsResult(), contentionResult(), ...otherBenches()];

t.test('results as they are written follow them', async (t) => {
  t.equal(whyNoResult(changed(runResult(), 'image', 'touch')), null, 'a run');
  for (const result of benches) {
    t.equal(whyNoResult(changed(result, 'bench', result.bench)), null, result.bench);
  }
  t.equal(whyNoResult(changed(benchSet(benches), 'command', 'faultline bench all')), null, 'a set');
});

t.test('figures that could not be had are null, and additions are welcome', async (t) => {
  for (const path of ['latencyMicroseconds', 'guestSeconds', 'perFault/contextSwitches']) {
    t.equal(whyNoResult(changed(runResult(), path, null)), null, path);
  }
  t.equal(whyNoResult(changed(runResult(), 'perFault/pageTableBytes', 12)), null);
  t.equal(whyNoResult(changed(runResult(), 'host/cpuModel', undefined)), null, 'older results');
  t.equal(whyNoResult(changed(faultsResult(), 'summary/temperature', 'cold')), null);
  t.equal(whyNoResult({ ...faultsResult(), bench: 'dirty', summary: 7 }), null, 'unknown bench');
});

t.test('a run that never began has an error and nothing else', async (t) => {
  const error = { code: 'usage', message: 'it cannot', hint: '' };
  const failed = { schema: 'faultline.run/1', image: null, outcome: 'error', error };
  t.equal(whyNoResult(failed), null);
  t.match(whyNoResult({ ...failed, error: null }), /error/);
  t.match(whyNoResult({ ...failed, outcome: 'completed' }), /config|outcome/);
});

t.test('what is wrong is refused by its place', async (t) => {
  const wrong: [result: unknown, path: string, value: unknown][] = [
    [runResult(), 'outcome', 'fine'],
    [runResult(), 'pages/verified', '8192'],
    [runResult(), 'pages/bytesPerPage', 8192],
    [runResult(), 'faults/count', -1],
    [runResult(), 'delivery/used', 'telepathy'],
    [runResult(), 'latencyMicroseconds/p99', null],
    [runResult(), 'config/vcpus', 0],
    [runResult(), 'config/pin/vcpu/0', 'all'],
    [runResult(), 'host/cpus', 1.5],
    [faultsResult(), 'constant/pages', null],
    [faultsResult(), 'runs/0/wallSeconds', 'long'],
    [faultsResult(), 'summary/curves/1/points/2/pagesPerSecond/runs', 0],
    [faultsResult(), 'summary/curves/0/subject/share', 'none'],
    [faultsResult(), 'summary/curves/0/points/0/latency/counts/1', 0.5],
    [contentionResult(), 'summary/rows/0/read/acquisitions', null],
    [contentionResult(), 'summary/rows/1/delivery', 7],
    [contentionResult(), 'summary/notMeasured/retries', false],
    ...otherBenches().map(
      (result) => [result, 'summary', 'all is well'] as [unknown, string, unknown],
    ),
    [benchSet(benches), 'results/0/host/kernel', 6.8],
    [benchSet(benches), 'results/1/summary/calls/0/read', -1],
  ];
  for (const [result, path, value] of wrong) {
    const why = whyNoResult(changed(result, path, value));
    t.ok(why?.includes(`/${path}`), `${path}: ${why}`);
  }
  for (const path of ['config', 'pages/verified', 'perVcpu', 'host/node']) {
    const name = path.split('/').at(-1)!;
    t.match(whyNoResult(changed(runResult(), path, undefined)), name, `without ${path}`);
  }
  t.match(whyNoResult(changed(faultsResult(), 'summary/curves/0/fit/verdict', undefined)), 'fit');
});

t.test('what is no result says what it is not', async (t) => {
  for (const value of [null, 1, 'x', [], [runResult()]]) {
    t.equal(whyNoResult(value), 'it is no JSON object');
  }
  t.match(whyNoResult({}), /its schema is missing, which is none of faultline\.run\/1, /);
  t.match(whyNoResult({ schema: 'faultline.run/9' }), /"faultline\.run\/9"/);
  t.match(whyNoResult({ schema: '__proto__' }), /none of/);
});
