import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

const skip = kvmSkip();
t.setTimeout(120_000);

t.test(
  'bench deliveries prints a row for each delivery, and writes the runs it came from',
  { skip },
  async (t) => {
    const file = join(t.testdir(), 'deliveries.json');
    const { status, stdout, stderr } = await cli([
      ...['bench', 'deliveries', '--pages', '1024', '--repeat', '2', '--json', file],
    ]);
    t.equal(status, 0, stderr);
    t.match(stderr, /\[1\/\d+\] kernel/, 'it tells how far it is');
    for (const delivery of ['kernel', 'handler', 'exit']) {
      t.match(stdout, new RegExp(`^${delivery}`, 'm'));
    }
    for (const line of stdout.split('\n')) {
      t.ok(line.length <= 100, line);
    }
    const result = JSON.parse(readFileSync(file, 'utf8'));
    t.match(result, {
      schema: 'faultline.bench/1',
      bench: 'deliveries',
      startedAt: String,
      command: String,
    });
    t.equal(
      result.runs.length,
      result.summary.length * 3,
      'two for time and one for counts, each row',
    );
    for (const run of result.runs) {
      t.match(run, {
        outcome: 'completed',
        pages: { touched: 1024, verified: 1024, mismatched: 0 },
      });
    }
  },
);

t.test('bench overhead compares with the C loops, pair by pair', { skip }, async (t) => {
  const { status, stdout, stderr } = await cli([
    'bench',
    'overhead',
    '--pages',
    '512',
    '--repeat',
    '2',
    '--json',
    '-',
  ]);
  t.equal(status, 0, stderr);
  const { runs, summary } = JSON.parse(stdout);
  t.equal(runs.length, 4);
  for (const pair of runs) {
    t.equal(pair.pagesVerified, 1024, 'both verified every page');
    t.ok(pair.ratio > 0.2 && pair.ratio < 20, `ratio ${pair.ratio}`);
  }
  t.match(summary, [
    { delivery: 'exit', pairs: 2 },
    { delivery: 'handler', pairs: 2 },
  ]);
});

t.test(
  'bench units compares units over each network, and says what it left out',
  { skip },
  async (t) => {
    const file = join(t.testdir(), 'units.json');
    const { status, stdout, stderr } = await cli([
      ...['bench', 'units', '--repeat', '1', '--backing', 'shmem,hugetlb-1G'],
      ...['--network', '1G:100,100G:0', '--unit', '2M,4K', '--json', file],
    ]);
    t.equal(status, 0, stderr);
    t.match(stderr, /\[8\/8\]/, 'two of each: accesses, units, networks');
    for (const line of stdout.split('\n')) {
      t.ok(line.length <= 100, line);
    }
    t.match(stdout, /^Over 1 Gbit\/s, latency 100 µs:$/m);
    t.match(stdout, /^Over 100 Gbit\/s, latency 0 µs:$/m);
    t.match(stdout, /^Left out: hugetlb-1G: its pages are 1G/m);
    t.match(stdout, /^Is a unit of 2M worth it/m);
    const { runs, summary, command } = JSON.parse(readFileSync(file, 'utf8'));
    t.equal(
      command,
      'faultline bench units --repeat 1 --backing shmem,hugetlb-1G --network 1G:100,100G:0 --unit 4K,2M',
    );
    t.equal(runs.length, 8);
    for (const run of runs) {
      t.equal(run.outcome, 'completed');
      t.equal(run.pages.mismatched, 0);
      t.equal(run.pages.verified, run.pages.touched);
      const { unitBytes, network } = run.config;
      const wireSeconds = (run.faults.outcomes.installed * unitBytes * 8) / network.bitsPerSecond;
      t.ok(run.guestSeconds >= wireSeconds, 'nothing came faster than the network allows');
    }
    t.equal(summary.rows.length, 2 * 3, 'networks, metrics');
    for (const { figures, best } of summary.rows) {
      t.equal(figures.length, 2);
      t.ok(
        figures.every(
          ({ median, lowest, highest }: Record<string, number>) =>
            lowest! <= median! && median! <= highest!,
        ),
      );
      t.ok(best.amongst.includes(best.unitBytes));
    }
    t.match(summary.leftOut, [{ backing: 'hugetlb-1G' }]);
  },
);

t.test('bench --list names them all', async (t) => {
  const { stdout } = await cli(['bench', '--list']);
  t.match(stdout, /^deliveries: /m);
  t.match(stdout, /^overhead: /m);
  t.match(stdout, /^faults: .*takes --vcpus, --delivery/m);
  t.match(stdout, /^all: .*takes nothing but --json/m);
  t.match(stdout, /^units: .*takes --repeat, --backing, --network, --unit/m);
});
