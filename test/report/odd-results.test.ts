/** Results that follow their schemas, and are as odd as these allow. */
import fc from 'fast-check';
import t from 'tap';
import { compareResults } from '../../src/report/compare.js';
import { describeComparisons } from '../../src/report/compare-report.js';
import { compareSection } from '../../src/report/html/compare-section.js';
import { reportPage } from '../../src/report/html/page.js';
import type { Result, ResultFile } from '../../src/report/read-results.js';
import { whyNoResult } from '../../src/report/result-schema.js';
import { contentionResult, curveOf, faultsResult, runResult } from '../support/bench-results.js';
import { otherBenches } from '../support/other-benches.js';

t.setTimeout(60_000);

type Place = { readonly holder: Record<string, unknown>; readonly name: string };

/** Everything in a result that is a number, a text, a list or nothing. */
function placesOf(value: unknown): Place[] {
  if (typeof value !== 'object' || value === null) {
    return [];
  }
  const holder = value as Record<string, unknown>;
  return Object.keys(holder).flatMap((name) => [{ holder, name }, ...placesOf(holder[name])]);
}

const ODD: readonly unknown[] = [
  ...[0, 1, 2, 0.5, 1e-300, 1e300, -1, 4096, 2 ** 53, 1e6],
  ...[null, '', 'x'.repeat(300), '<b>', true, []],
];

const bases = [faultsResult(), contentionResult(), runResult(), ...otherBenches()];

t.test('whatever follows its schema is drawn and compared, without a NaN', async (t) => {
  let drawn = 0;
  fc.assert(
    fc.property(
      fc.nat(bases.length - 1),
      fc.array(fc.tuple(fc.nat(), fc.nat(ODD.length - 1)), { minLength: 1, maxLength: 3 }),
      (base, changes) => {
        const result = JSON.parse(JSON.stringify(bases[base])) as Result;
        for (const [place, odd] of changes) {
          const places = placesOf(result);
          const { holder, name } = places[place % places.length]!;
          const kept = holder[name];
          holder[name] = ODD[odd];
          if (whyNoResult(result) !== null) {
            holder[name] = kept;
          }
        }
        const file: ResultFile = { path: 'odd.json', name: 'odd.json', result };
        const same: ResultFile = { ...file, result: bases[base]! };
        const compared = compareResults(file, same);
        describeComparisons(compared, ['a', 'b']);
        const page = reportPage([file], compareSection(compared, ['a', 'b']));
        const [nonsense] = /.{0,80}(NaN|Infinity|undefined).{0,40}/.exec(page) ?? [];
        t.equal(nonsense, undefined, `${JSON.stringify(changes)} of result ${base}`);
        drawn++;
      },
    ),
    { numRuns: 40 },
  );
  t.equal(drawn, 40);
});

t.test('curves of one point, of none, of nothing but zeroes', async (t) => {
  const curve = curveOf('exit', {}, [2e5, 0.05, 0.001]);
  const zero = { median: 0, lowest: 0, highest: 0, runs: 3 };
  for (const points of [
    curve.points.slice(0, 1),
    [],
    curve.points.map((point) => ({ ...point, pagesPerSecond: zero })),
    curve.points.map((point) => ({ ...point, latency: null, p50Microseconds: null })),
  ]) {
    const result = faultsResult([{ ...curve, points }]);
    const page = reportPage([{ path: 'a', name: 'a', result }]);
    t.notMatch(page, /NaN|Infinity|undefined/);
  }
  const many = Array.from({ length: 30 }, (_, index) => ({ ...curve, label: `curve ${index}` }));
  const page = reportPage([{ path: 'a', name: 'a', result: faultsResult(many) }]);
  t.match(page, 'curve 29: medians');
});
