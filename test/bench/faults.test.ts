/** What the bench `faults` plans, measures and says. */
import { availableParallelism } from 'node:os';
import t from 'tap';
import { faults } from '../../bench/scale/faults.js';
import {
  defaultVcpus,
  type FaultsChoices,
  planFaults,
  stepsOf,
} from '../../bench/scale/faults-plan.js';
import { latencyCount } from '../../src/measure/latency-histogram.js';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

const skip = kvmSkip();
t.setTimeout(120_000);

const choices: FaultsChoices = {
  pages: 64,
  repeat: 2,
  vcpus: [2, 1],
  delivery: ['kernel', 'handler', 'exit'],
  backing: ['shmem'],
  uffds: ['one'],
  handlers: [1],
  share: ['partition'],
  order: ['sequential'],
  delayMicroseconds: 0,
  pin: null,
};

const labels = (given: Partial<FaultsChoices>): string[] =>
  planFaults({ ...choices, ...given }).subjects.map(({ label }) => label);

t.test('by default vCPUs double up to four times the CPUs', async (t) => {
  t.strictSame(defaultVcpus(1), [1, 2, 4]);
  t.strictSame(defaultVcpus(2), [1, 2, 4, 8]);
  t.strictSame(defaultVcpus(3), [1, 2, 4, 8, 12]);
  t.strictSame(defaultVcpus(96), [1, 2, 4, 8, 16, 32, 64], 'and a guest has 64 at most');
});

t.test('curves are told apart by what differs, where the delivery has it', { skip }, async (t) => {
  t.strictSame(labels({}), ['kernel', 'handler', 'exit']);
  t.strictSame(labels({ uffds: ['one', 'per-vcpu'], handlers: [1, 2, 'vcpus'] }), [
    'kernel',
    'handler, one uffd, 1 handler',
    'handler, one uffd, 2 handlers',
    'handler, one uffd, handler per vCPU',
    'handler, uffd per vCPU, 1 handler',
    'handler, uffd per vCPU, 2 handlers',
    'handler, uffd per vCPU, handler per vCPU',
    'exit, one uffd',
    'exit, uffd per vCPU',
  ]);
  t.strictSame(
    labels({
      delivery: ['exit'],
      backing: ['shmem', 'anon-private'],
      share: ['partition', 'overlap'],
      order: ['random'],
    }),
    ['exit, shmem, partition', 'exit, shmem, overlap', 'exit, anon-private, partition'].concat(
      'exit, anon-private, overlap',
    ),
  );
  t.strictSame(labels({ delivery: ['exit', 'exit'] }), ['exit'], 'one given twice is one');
});

t.test('what cannot be measured is left out, with the reason', { skip }, async (t) => {
  const { subjects, leftOut } = planFaults({
    ...choices,
    backing: ['shmem', `file:${t.testdirName}`, 'hugetlb-1G'],
    delivery: ['kernel', 'exit'],
    delayMicroseconds: 10,
  });
  t.strictSame(
    subjects.map(({ label }) => label),
    ['exit, shmem'],
  );
  t.match(
    leftOut.find(({ label }) => label === 'kernel, shmem'),
    { reason: /^--delay-microseconds: every page is there beforehand/ },
  );
  t.match(
    leftOut.find(({ label }) => label === 'exit, hugetlb-1G'),
    { reason: /its pages are 1G/ },
  );
  t.throws(() => planFaults({ ...choices, delivery: ['kernel'], delayMicroseconds: 1 }), {
    code: 'unsupported',
    message: /there is nothing to measure; kernel: --delay-microseconds/,
  });
});

t.test('rounds are interleaved, to and fro, after one that warms up', { skip }, async (t) => {
  const plan = planFaults({ ...choices, delivery: ['kernel', 'exit'] });
  const steps = stepsOf(plan, 2).map(({ round, label, vcpus }) => `${round} ${label} ${vcpus}`);
  t.strictSame(steps, [
    ...['0 kernel 1', '0 exit 1', '0 kernel 2', '0 exit 2'],
    ...['1 exit 2', '1 kernel 2', '1 exit 1', '1 kernel 1'],
    ...['2 kernel 1', '2 exit 1', '2 kernel 2', '2 exit 2'],
  ]);
});

t.test('each point comes from its verified runs', { skip }, async (t) => {
  const result = await faults.run({
    vcpus: [1, 2, 3, 4],
    delivery: ['handler', 'exit'],
    handlers: ['vcpus'],
    share: ['overlap'],
    order: ['random'],
    pages: 128,
    repeat: 2,
    reference: ['moorthy-2024'],
  });
  const { curves, published, repeat, warmUps } = result.summary;
  t.match({ repeat, warmUps }, { repeat: 2, warmUps: 1 });
  t.equal(result.runs.length, 2 * 4 * 2, 'the warm-up is not among them');
  for (const run of result.runs) {
    t.match(run, { outcome: 'completed', pages: { mismatched: 0 } });
    t.equal(run.pages.verified, 128 * run.config.vcpus, 'all of them touch all of it');
    t.equal(run.perHandler.length, run.label === 'handler' ? run.config.vcpus : 0);
  }
  t.strictSame(
    curves.map(({ label, subject }) => [label, subject.handlers]),
    [
      ['handler', null],
      ['exit', 0],
    ],
  );
  for (const { label, points, fit } of curves) {
    t.strictSame(
      points.map(({ vcpus }) => vcpus),
      [1, 2, 3, 4],
    );
    for (const { vcpus, pagesPerSecond, pagesVerified, latency, disturbed } of points) {
      const mine = result.runs.filter((run) => run.label === label && run.config.vcpus === vcpus);
      const rates = mine.map((run) => run.pagesPerSecond!);
      t.match(pagesPerSecond, {
        lowest: Math.min(...rates),
        highest: Math.max(...rates),
        median: (rates[0]! + rates[1]!) / 2,
        runs: 2,
      });
      t.equal(pagesVerified, 128 * vcpus);
      t.equal(latencyCount(latency!), 2 * 128 * vcpus * vcpus, 'every first access of both runs');
      t.ok(disturbed >= 0 && disturbed <= 2);
    }
    t.ok(fit.fitted, 'four numbers of vCPUs are enough');
  }
  t.equal(published.length, 2);

  const text = faults.describe(JSON.parse(JSON.stringify(result)));
  for (const line of text.split('\n')) {
    t.ok(line.length <= 100, line);
  }
  const flat = text.replace(/\n */g, ' ');
  t.match(text, /^A\. handler$/m);
  t.match(text, /^B\. exit$/m);
  t.match(flat, /(PREDICTED,|Nothing is predicted) beyond the 4 vCPUs that were measured/);
  t.match(flat, /overlap: each vCPU touches all pages/);
  t.match(flat, /shmem, overlap, random order, one userfaultfd, a handler for each vCPU, no delay/);
  t.match(flat, /1 warm-up round that is left out/);
  t.match(flat, /moorthy-2024: Anish Moorthy/);
  t.match(text, /^Moorthy 2024, exits +340 +477 +– +809/m, 'beside ours, by numbers of vCPUs');
  if (availableParallelism() < 4) {
    t.match(flat, /numbers of vCPUs exceed the \d CPUs? they may run on/);
  }
});

t.test('too few numbers of vCPUs: no fit, and why', { skip }, async (t) => {
  const result = await faults.run({ vcpus: [1, 2], delivery: ['exit'], pages: 64, repeat: 1 });
  t.match(result.summary.curves[0]!.fit, { fitted: false, why: /there are 2/ });
  t.match(faults.describe(result), /^No fit: the law has three coefficients/m);
});

t.test('its command line is how to do it again', { skip }, async (t) => {
  const args = ['--vcpus', '2,1', '--delivery', 'handler', '--pages', '64', '--repeat', '1'];
  const more = ['--pin', 'vcpu=0;handler=0', '--delay-microseconds', '50', '--json', '-'];
  const { status, stdout, stderr } = await cli(['bench', 'faults', ...args, ...more]);
  t.equal(status, 0, stderr);
  t.match(stderr, /^\[1\/4\] handler, 1 vCPU \(warm-up\)$/m);
  t.match(stderr, /^\[3\/4\] handler, 2 vCPUs \(1 of 1\)/m);
  const { command, constant, runs } = JSON.parse(stdout);
  t.equal(
    command,
    "faultline bench faults --vcpus 1,2 --delivery handler --backing shmem --uffds one --handlers 1 --share partition --order sequential --pages 64 --repeat 1 --delay-microseconds 50 --pin 'vcpu=0;handler=0'",
  );
  t.match(constant, { delayMicroseconds: 50, pagesPerVcpu: 64, pin: 'vcpu=0;handler=0' });
  for (const run of runs) {
    t.match(run.config, { delayMicroseconds: 50, pin: { vcpu: [0], handler: [0] } });
    t.ok(run.guestSeconds >= run.faults.count * 50e-6, 'one handler: one delay after the other');
  }
});
