import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import t from 'tap';
import { listBenches } from '../../src/cli/bench-help.js';
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

t.test('bench NAME --help shows what that bench takes, and no more', async (t) => {
  const options = (text: string): string[] =>
    [...text.matchAll(/^ +(?:-h, )?(--[a-z-]+)/gm)].map(([, option]) => option!);
  const [all, ...ofBenches] = await Promise.all([
    cli(['bench', '--help']),
    ...['faults', 'overhead', 'micro', 'all'].map((name) => cli(['bench', name, '--help'])),
  ]);
  const [faults, overhead, micro, set] = ofBenches.map(({ stdout }) => stdout);
  t.match(faults, /^Usage: faultline bench faults \[options\]\n\nhow faults scale/);
  t.match(options(faults!), ['--pages', '--repeat', '--vcpus', '--delivery']);
  t.notMatch(faults, /--minutes|--network|--list/);
  t.match(faults, /^ {2}faultline bench faults --delivery handler,exit --json faults\.json$/m);
  t.strictSame(options(overhead!), ['--pages', '--repeat', '--json']);
  t.strictSame(options(micro!), ['--json']);
  t.strictSame(options(set!), ['--json']);
  t.ok(options(all!.stdout).length > 15, 'without a NAME, what any of them takes');
  t.match(options(all!.stdout).slice(-3), ['--json', '--list', '--help']);
  for (const { status, stdout } of [all!, ...ofBenches]) {
    t.equal(status, 0);
    t.match(stdout, /^Example:\n {2}faultline bench /m);
  }
  const wrong = await cli(['bench', 'none', '--help']);
  t.equal(wrong.status, 2);
  t.match(wrong.stderr, /there is no bench none/);
});

t.test('a list for a terminal is as wide as that', async (t) => {
  const bench = {
    name: 'some',
    description: 'what '.repeat(20).trim(),
    extent: 'all of it',
    takes: ['pages', 'delayMicroseconds'],
  } as const;
  const command = new Command();
  const whole = listBenches([bench, bench], command, undefined);
  t.equal(whole.split('\n').length, 3, 'one line each where it is no terminal');
  const wrapped = listBenches([bench, bench], command, 60);
  for (const line of wrapped.split('\n')) {
    t.ok(line.length <= 60, line);
  }
  t.equal(wrapped.replaceAll(/\n +/g, ' '), whole, 'with the same words');
  t.equal(listBenches([bench], command, 3), listBenches([bench], command, undefined), 'too narrow');
});

t.test('bench --list names them all', async (t) => {
  const { stdout } = await cli(['bench', '--list']);
  t.match(stdout, /^deliveries: /m);
  t.match(stdout, /^overhead: /m);
  t.match(stdout, /^faults: .*takes --vcpus, --delivery/m);
  t.match(stdout, /^all: .*takes nothing but --json/m);
  t.match(stdout, /^units: .*takes --repeat, --backing, --network, --unit/m);
});
