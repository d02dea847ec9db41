/** What the bench `units` plans and concludes; test/cli/bench.test.ts runs it. */
import fc from 'fast-check';
import t from 'tap';
import { describeUnits } from '../../bench/scale/units-answer.js';
import { contestOver } from '../../bench/scale/units-contest.js';
import { pagesFor, SPARSE_EVERY, subjectOf } from '../../bench/scale/units-plan.js';
import { compareUnits, type Sample } from '../../bench/scale/units-summary.js';
import { memoryFor } from '../../bench/scale/verified-run.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import {
  METRICS,
  type Metric,
  type Subject,
  type UnitRun,
  type UnitsSummary,
} from '../../src/report/units-result.js';
import { nameOfNetwork } from '../../src/source/network-link.js';

const MIB = 2 ** 20;
const UNITS = [4096, 65536, 2 * MIB];
const NETWORKS = [
  { bitsPerSecond: 1e8, latencyMicroseconds: 200 },
  { bitsPerSecond: 1e11, latencyMicroseconds: 10 },
];

const subject = (backing: Subject['backing'], units = UNITS): Subject => ({
  backing,
  delivery: 'exit',
  units,
  refusal: units === UNITS ? null : 'its pages are 2M, and nothing smaller can be mapped',
  roomBytes: 258 * MIB,
});
const SUBJECTS = [subject('shmem'), subject('anon-private'), subject('hugetlb-2M', [2 * MIB])];

/** Three samples for every unit: those given for a metric, one part in a hundred apart. */
function summaryOf(
  times: (metric: Metric, network: number, backing: string) => readonly number[],
  spread = 0.01,
): UnitsSummary {
  const samples = NETWORKS.flatMap((network, at) =>
    METRICS.flatMap((metric) =>
      SUBJECTS.flatMap(({ backing, units }) =>
        UNITS.flatMap((unitBytes, index) =>
          !units.includes(unitBytes)
            ? []
            : [1 - spread, 1, 1 + spread].map((by): Sample => {
                const microseconds = times(metric, at, backing)[index]! * by;
                return {
                  network: nameOfNetwork(network),
                  metric,
                  backing,
                  unitBytes,
                  microseconds,
                };
              }),
        ),
      ),
    ),
  );
  const leftOut = [
    { backing: 'tmpfs', reason: 'mount is not permitted. Run it as root.' },
  ] as const;
  return compareUnits({ units: UNITS, networks: NETWORKS, subjects: SUBJECTS, leftOut }, samples);
}

/** Dense access likes large units, the rest small ones; the more so, the slower the network. */
const usual = (metric: Metric, network: number): readonly number[] => {
  if (metric === 'dense') {
    return [100, 20, 10];
  }
  return network === 0 ? [100, 200, 10_000] : [100, 110, 150];
};

t.test('figures are medians with their range, a dash where a unit is refused', async (t) => {
  const { rows } = summaryOf(usual);
  t.equal(rows.length, 2 * 3 * 3);
  t.match(rows[0], {
    network: '100M:200',
    metric: 'dense',
    backing: 'shmem',
    figures: [{ median: 100, lowest: 99, highest: 101 }, { median: 20 }, { median: 10 }],
    best: { unitBytes: 2 * MIB, amongst: [2 * MIB], ratio: 0.1 },
  });
  const hugetlb = rows.filter(({ backing }) => backing === 'hugetlb-2M');
  t.equal(hugetlb.length, 6);
  for (const { figures, best } of hugetlb) {
    t.strictSame(figures.slice(0, 2), [null, null]);
    t.equal(best, null, 'of one unit none is the best');
  }
});

t.test('no best unit is named where ranges overlap', async (t) => {
  const close = summaryOf(
    (metric) => (metric === 'sparse' ? [100, 103, 500] : [100, 90, 80]),
    0.02,
  );
  for (const { metric, best } of close.rows) {
    if (best !== null) {
      t.strictSame(best.amongst, metric === 'sparse' ? [4096, 65536] : [2 * MIB]);
    }
  }
  const [row] = summaryOf(() => [100, 100, 100]).rows;
  t.strictSame(row!.best!.amongst, UNITS);
});

t.test('units meet over one network, where a backing can have them all', async (t) => {
  const contest = contestOver(summaryOf(usual), NETWORKS[0]!)!;
  t.match(contest.ratios, { dense: 0.1, sparse: 100, firstInstruction: 100 });
  t.match(contest.smallest, { unitBytes: 4096, factor: 10, metric: 'dense' });
  t.match(contest.largest, { unitBytes: 2 * MIB, factor: 100 });
  t.match(contest.compromise, { unitBytes: 65536, factor: 2 });
  const only = summaryOf(usual);
  const hugetlb = { ...only, rows: only.rows.filter(({ backing }) => backing === 'hugetlb-2M') };
  t.equal(contestOver(hugetlb, NETWORKS[0]!), null);
});

function describe(summary: UnitsSummary, repeat = 3): string {
  const runs = [{ delivery: { used: 'exit' } }] as unknown as UnitRun[];
  const constant = { repeat, sparseEvery: SPARSE_EVERY, sourceMicrosecondsPerPage: 0.5 };
  // As it comes back from a file.
  const result = structuredClone({ summary, runs, constant });
  return describeUnits(result as unknown as BenchResult<UnitRun, UnitsSummary>);
}

t.test('the answer follows from the figures', async (t) => {
  const text = describe(summaryOf(usual)).replaceAll('\n', ' ');
  t.match(
    text,
    /For dense access 2M takes 0\.10 times as long as 4K: it is faster over all of them/,
  );
  t.match(text, /For sparse access 2M takes 1\.5 to 100 times .*: it is faster over none of them/);
  t.match(text, /it is 64K over 100 Mbit\/s, 2M over 100 Gbit\/s/);
  t.match(text, /It is 2M over 100 Gbit\/s, and 4K over none of them/);
  t.match(text, /In each of the 12 rows the best unit stands clear/);
  t.match(text, /hugetlb-2M: its pages are 2M/);
  t.match(text, /Left out: tmpfs: mount is not permitted/);

  const otherwise = describe(summaryOf(() => [10, 20, 30])).replaceAll('\n', ' ');
  t.match(otherwise, /For dense access 2M takes 3\.0 times .* faster over none of them/);
  t.match(otherwise, /it is 4K over 100 Mbit\/s, 4K over 100 Gbit\/s/);
  t.match(otherwise, /It is 2M over none of them, and 4K over all of them/);

  const unclear = describe(summaryOf(() => [10, 10, 30])).replaceAll('\n', ' ');
  t.match(unclear, /In 12 of 12 rows no best unit can be named/);
  t.match(describe(summaryOf(usual), 1), /Every figure is from one run/);
});

t.test('nothing is wider than a mail', async (t) => {
  const large = summaryOf(() => [123_456, 123_456, 123_456]);
  for (const line of describe(large).split('\n')) {
    t.ok(line.length <= 100, line);
  }
});

t.test('a run is never too large for its memory, nor without a few faults', async (t) => {
  const rate = fc.integer({ min: 4, max: 12 }).map((power) => 10 ** power);
  fc.assert(
    fc.property(
      fc.constantFrom('dense', 'sparse'),
      fc.integer({ min: 12, max: 21 }).map((power) => 2 ** power),
      rate,
      fc.integer({ min: 0, max: 100_000 }),
      fc.integer({ min: 10, max: 258 }),
      (access, unitBytes, bitsPerSecond, latencyMicroseconds, room) => {
        const roomBytes = room * MIB;
        const network = { bitsPerSecond, latencyMicroseconds };
        const pages = pagesFor({ ...SUBJECTS[0]!, roomBytes }, access, unitBytes, network);
        const every = access === 'dense' ? 1 : SPARSE_EVERY;
        return (
          Number.isInteger(pages) &&
          pages * every * 4096 >= 4 * unitBytes &&
          memoryFor(pages * every) <= Math.ceil(roomBytes / (2 * MIB)) * 2 * MIB &&
          memoryFor(pages * every) % unitBytes === 0
        );
      },
    ),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('what cannot be measured is left out, with the reason', async (t) => {
  t.match(subjectOf('hugetlb-1G', UNITS), { reason: /its pages are 1G/ });
  const file = `file:${t.testdir()}/memory` as const;
  const here = subjectOf(file, UNITS);
  t.ok('units' in here || /userfaultfd/.test(here.reason), JSON.stringify(here));
});
