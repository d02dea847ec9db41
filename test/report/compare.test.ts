import t from 'tap';
import { type ComparedFigure, type Comparison, compareResults } from '../../src/report/compare.js';
import { describeComparisons, verdictsOf } from '../../src/report/compare-report.js';
import type { Result, ResultFile } from '../../src/report/read-results.js';
import {
  around,
  benchSet,
  contentionResult,
  curveOf,
  faultsResult,
  HOST,
  runResult,
} from '../support/bench-results.js';
import { deliveriesResult, otherBenches } from '../support/other-benches.js';

const file = (name: string, result: Result): ResultFile => ({ path: name, name, result });

function compare(a: Result, b: Result) {
  return compareResults(file('a.json', a), file('b.json', b));
}

/** The one comparison that there must be. */
function theOne(a: Result, b: Result): Comparison {
  const { comparisons, refusals } = compare(a, b);
  t.equal(comparisons.length, 1, refusals.join('; '));
  return comparisons[0]!;
}

const curve = curveOf('exit', {}, [200_000, 0.05, 0.001], [1, 2, 4]);

/** A result with one point, of these pages per second. */
function measured(lowest: number, median: number, highest: number, runs = 3) {
  const pagesPerSecond = { lowest, median, highest, runs };
  return faultsResult([{ ...curve, points: [{ ...curve.points[0]!, pagesPerSecond }] }], []);
}

function pagesPerSecond(a: Result, b: Result): ComparedFigure {
  return theOne(a, b).points[0]!.figures.find(({ name }) => name === 'pages/s')!;
}

t.test(
  'ranges apart exceed the noise; such as touch, overlap or contain each other do not',
  async (t) => {
    const base = measured(90, 100, 110);
    for (const [other, noise, percent] of [
      [measured(111, 120, 130), 'exceeds', 20],
      [measured(70, 80, 89), 'exceeds', -20],
      [measured(110, 120, 130), 'within', 20],
      [measured(105, 120, 130), 'within', 20],
      [measured(95, 100, 105), 'within', 0],
      [measured(50, 150, 200), 'within', 50],
      [measured(200, 200, 200, 1), 'unknown', 100],
    ] as const) {
      const figure = pagesPerSecond(base, other);
      t.equal(figure.noise, noise, `${figure.b.lowest} to ${figure.b.highest}`);
      t.equal(figure.percent, percent);
      t.equal(pagesPerSecond(other, base).noise, noise, 'from either side');
    }
  },
);

t.test('from nothing to something there is no percentage', async (t) => {
  t.equal(pagesPerSecond(measured(0, 0, 0), measured(1, 1, 1)).percent, null);
  t.equal(pagesPerSecond(measured(0, 0, 0), measured(0, 0, 0)).percent, 0);
});

t.test('only points of both are compared, and what is left out is said', async (t) => {
  const more = curveOf('exit', {}, [200_000, 0.05, 0.001], [2, 4, 8]);
  const { points, leftOut } = theOne(faultsResult([curve]), faultsResult([more]));
  t.strictSame(
    points.map(({ label }) => label),
    ['exit, 2 vCPUs', 'exit, 4 vCPUs'],
  );
  t.strictSame(leftOut, ['exit, 1 vCPU: in A alone', 'exit, 8 vCPUs: in B alone']);
});

t.test('two deliveries are compared where each is the only curve', async (t) => {
  const handler = curveOf('handler', { delivery: 'handler' }, [9e4, 0.4, 0.01], [1, 2, 4]);
  const { points, differences } = theOne(faultsResult([curve]), faultsResult([handler]));
  t.equal(points[0]!.label, 'exit, 1 vCPU and handler, 1 vCPU');
  t.match(differences, [{ what: 'exit and handler: delivery', a: 'exit', b: 'handler' }]);
  t.equal(
    compare(faultsResult([curve, handler]), faultsResult([handler])).comparisons[0]!.points[0]!
      .label,
    'handler, 1 vCPU',
  );
});

t.test('unlike things are not compared, whatever they are called', async (t) => {
  const refused = (a: Result, b: Result): string => {
    const { comparisons, refusals } = compare(a, b);
    t.equal(comparisons.length, 0);
    return refusals.join('; ');
  };
  const other = { ...faultsResult(), constant: { ...faultsResult().constant, pages: 16 } };
  t.match(
    refused(faultsResult(), other),
    /pages is 8192 in one and 16 in the other, which are unlike/,
  );
  for (const subject of [
    { backing: 'hugetlb-2M' },
    { share: 'overlap' },
    { order: 'random' },
  ] as const) {
    const unlike = curveOf('exit', subject, [2e5, 0.05, 0.001], [1, 2, 4]);
    refused(faultsResult([curve]), faultsResult([unlike]));
    const both = [unlike, curveOf('handler', { delivery: 'handler' }, [1e5, 0.5, 0])];
    const found = theOne(faultsResult([curve, both[1]!]), faultsResult(both));
    t.match(found.leftOut.join('; '), /exit, 1 vCPU: .*which are unlike things/);
    t.ok(found.points.every(({ label }) => label.startsWith('handler')));
  }
  t.match(
    refused(faultsResult(), contentionResult()),
    /bench faults is in a\.json alone; bench contention/,
  );
  t.match(refused(runResult(), faultsResult()), /run touch is in a\.json alone/);
  const run = runResult();
  t.match(
    refused(run, { ...run, config: { ...run.config, unitBytes: 65536 } }),
    /unitBytes is 4096/,
  );
  t.match(refused(run, { ...run, outcome: 'timeout' }), /ended as timeout has no figures/);
});

t.test('what differs in host and constants comes first', async (t) => {
  const other = { ...faultsResult(), host: { ...HOST, kernel: '6.12.0', cpus: 16 } };
  const { differences } = theOne(faultsResult(), other);
  t.strictSame(differences, [
    { what: 'kernel', a: HOST.kernel, b: '6.12.0' },
    { what: 'CPUs', a: '8', b: '16' },
  ]);
  const text = describeComparisons(compare(faultsResult(), other), ['a.json', 'b.json']);
  t.ok(text.indexOf('6.12.0 in B') < text.indexOf('pages/s'));
});

t.test('benches of sets find each other; every bench with figures can be compared', async (t) => {
  const all = benchSet([faultsResult(), contentionResult(), ...otherBenches()]);
  const { comparisons, refusals } = compare(all, all);
  t.strictSame(
    comparisons.map(({ heading }) => heading),
    [
      'bench faults',
      'bench contention',
      'bench deliveries',
      'bench exits',
      'bench overhead',
      'bench units',
    ],
  );
  t.strictSame(refusals, ['bench soak: it has no figures to compare']);
  for (const figure of comparisons
    .flatMap(({ points }) => points)
    .flatMap(({ figures }) => figures)) {
    t.equal(figure.percent, 0, figure.name);
    t.not(figure.noise, 'exceeds', 'of itself it differs by nothing');
  }
  t.equal(compare(all, deliveriesResult()).comparisons.length, 1);
});

t.test('two runs tell by what their vCPUs exited', async (t) => {
  const run = runResult();
  const exitBy = (by: 'missing' | 'userfault') => ({
    ...run,
    delivery: { ...run.delivery, reportedBy: 'memory-fault' as const, exitBy: by },
  });
  t.match(theOne(exitBy('missing'), exitBy('userfault')).differences, [
    { what: 'exit by', a: 'missing', b: 'userfault' },
  ]);
});

t.test('a difference that others may have made is said to be one', async (t) => {
  const quiet = { ...curve, points: curve.points.map((point) => ({ ...point, disturbed: 0 })) };
  const noisy = { ...curve, points: curve.points.map((point) => ({ ...point, disturbed: 2 })) };
  t.strictSame(theOne(faultsResult([quiet]), faultsResult([quiet])).disturbed, []);
  const { disturbed } = theOne(faultsResult([quiet]), faultsResult([noisy]));
  t.equal(disturbed[0], "exit, 1 vCPU: 0 of A's runs, 2 of B's");
  const run = { ...deliveriesResult().runs[0]!, otherCpus: 0.4 };
  t.strictSame(
    theOne(deliveriesResult(), { ...deliveriesResult(), runs: [run, ...deliveriesResult().runs] })
      .disturbed,
    ['0 of 6 runs of A, 1 of 7 of B'],
  );
  const text = describeComparisons(compare(faultsResult([quiet]), faultsResult([noisy])), [
    'a.json',
    'b.json',
  ]);
  t.match(text, /a difference may be theirs\.\n {2}exit, 1 vCPU: /);
});

t.test('what only one of them knows is said', async (t) => {
  const rows = contentionResult().summary.rows;
  const summary = {
    ...contentionResult().summary,
    rows: rows.map((row) => ({ ...row, contextSwitches: null, pageFaultRetries: around(0.1) })),
  };
  const { leftOut } = theOne(contentionResult(), { ...contentionResult(), summary });
  t.ok(leftOut.includes('exit: context switches is known of A alone'));
  t.ok(leftOut.includes('exit: retries is known of B alone'));
});

t.test('the table fits 100 columns, whatever the names are', async (t) => {
  const long = { ...curve, label: `exit${', hugetlb-private-2M'.repeat(8)}\u001b[31m\n` };
  const text = describeComparisons(
    compare(faultsResult([long]), {
      ...faultsResult([long]),
      host: { ...HOST, cpuModel: 'Xeon '.repeat(40) },
    }),
    ['a.json', 'b.json'],
  );
  for (const line of text.split('\n')) {
    t.ok(line.length <= 100, line);
  }
  t.notMatch(text, '\u001b', 'nothing drives the terminal');
});

t.test('how many would differ of two equal things is said', async (t) => {
  const sentence = (times: number, runs: number, others = runs): string => {
    const one = pagesPerSecond(measured(90, 100, 110, runs), measured(111, 120, 130, others));
    return verdictsOf(Array.from({ length: times }, () => one))[0]!.split('. ')[0]!;
  };
  const start = 'figures the difference exceeds the noise; of two equal things';
  t.equal(sentence(18, 2), `In 18 of 18 ${start} about 6 of 18 would, with so few runs (--repeat)`);
  t.equal(sentence(20, 3), `In 20 of 20 ${start} about 2 of 20 would, with so few runs (--repeat)`);
  t.match(sentence(21, 2, 5), 'about 2 of 21 would, with so few runs', '2 / C(7, 2) of each');
  t.match(sentence(126, 5), /about 1 of 126 would$/);
  t.match(sentence(18, 9), /hardly any of 18 would$/);
});
