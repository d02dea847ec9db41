/** The bench `contention`: its bounds, its words, and that counters which lie make it fail. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type ContentionRun, contention } from '../../bench/scale/contention.js';
import { checkAlike, checkRun } from '../../bench/scale/contention-checks.js';
import { planContention } from '../../bench/scale/contention-plan.js';
import { UsageError } from '../../src/ffi/errors.js';
import { Crew } from '../../src/machine/crew.js';
import { type PerfReadings, perfEvents } from '../../src/measure/perf-counters.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import type { ContentionSummary } from '../../src/report/contention-result.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

const { trace } = perfEvents(true, { locks: true, faults: 0 });
const skip = kvmSkip() || (typeof trace === 'string' && trace);
t.setTimeout(120_000);

type Result = BenchResult<ContentionRun, ContentionSummary>;

/** A real one, small, made by the first test. */
let result: Result | null = null;

t.test('its JSON holds the bounds, from counts', { skip }, async (t) => {
  const file = join(t.testdir(), 'contention.json');
  const { status, stdout, stderr } = await cli([
    ...['bench', 'contention', '--pages', '512', '--repeat', '1', '--delivery', 'handler,exit'],
    ...['--writers', '0,1', '--writer-rate', '2000', '--json', file],
  ]);
  t.equal(status, 0, stderr);
  for (const line of stdout.split('\n')) {
    t.ok(line.length <= 100, line);
  }
  t.match(stdout, /UFFDIO_CONTINUE takes mmap_lock/);
  result = JSON.parse(readFileSync(file, 'utf8')) as Result;
  t.match(result, { schema: 'faultline.bench/1', bench: 'contention', constant: { vcpus: 2 } });
  t.equal(result.runs.length, 4 * 3, 'for times, for counts, for the trace');
  const [handler, exit, handlerBeside, exitBeside] = result.summary.rows;
  for (const row of result.summary.rows) {
    t.equal(row.pagesVerified, 1024, row.label);
    t.equal(row.faults.median, 1024, row.label);
    t.ok(row.read.waitMicroseconds!.median >= 0 && row.read.holdMicroseconds!.median > 0);
  }
  for (const row of [handler!, handlerBeside!]) {
    const { median } = row.read.acquisitions;
    t.ok(median >= 3.9 && median < 4.5, `${row.label}: ${median} acquisitions`);
  }
  for (const row of [exit!, exitBeside!]) {
    const { median } = row.read.acquisitions;
    t.ok(median >= 0.99 && median < 1.3, `${row.label}: ${median} acquisitions`);
    t.ok(row.kvmRuns!.median >= 1 && row.kvmRuns!.median < 1.2);
  }
  const sleeps = handler!.contextSwitches!.median;
  t.ok(sleeps > 1 && sleeps < 3, `handler: ${sleeps} context switches`);
  t.ok(exit!.contextSwitches!.median < 0.5, 'and who does not sleep is seldom switched');
  for (const [row, least, most] of [
    [handler!, 0.9, 1.1],
    [exit!, 0, 0.1],
  ] as const) {
    const given = row.pageFaultRetries?.median ?? Number.NaN;
    t.ok(given >= least && given <= most, `${row.label}: ${given} faults gave up their lock`);
  }
  t.ok(exitBeside!.writesPerSecond!.median > 100);
  t.match(
    handlerBeside!.byThread.map(({ threads }) => threads),
    ['vcpus', 'handlers', 'writers'],
  );
});

t.test(
  'calls: what changes the address space takes it, what maps a page does not',
  { skip },
  async (t) => {
    const calls = result!.summary.calls;
    const of = (name: string) => calls.find(({ call }) => call === name)!;
    for (const name of ['mmap', 'mprotect', 'munmap']) {
      t.equal(of(name).write, 1, name);
    }
    t.equal(of('MADV_POPULATE_WRITE').write, 0);
    t.ok(of('MADV_POPULATE_WRITE').read! >= 1);
    for (const name of ['UFFDIO_CONTINUE', 'UFFDIO_POISON', 'UFFDIO_COPY', 'page fault, alias']) {
      t.equal(of(name).write, 0, `${name}: at most for read, on any kernel`);
      t.ok(of(name).read! <= 1, name);
    }
  },
);

t.test('a run whose figures contradict each other is refused', { skip }, async (t) => {
  const of = (part: string): ContentionRun =>
    result!.runs.find((run) => run.part === part && run.label === 'exit, 1 writer')!;
  const traced = of('traced');
  checkRun(traced);
  const locks = (change: object): ContentionRun => ({
    ...traced,
    locks: traced.locks!.map((some) => (some.threads === 'vcpus' ? { ...some, ...change } : some)),
  });
  const vcpus = traced.locks!.find(({ threads }) => threads === 'vcpus')!;
  const refused = (run: ContentionRun, why: RegExp): void => {
    t.throws(() => checkRun(run), { code: /^(guest|defect)$/ });
    t.throws(() => checkRun(run), { message: why });
  };
  refused(locks({ read: { ...vcpus.read, traced: vcpus.read.traced! - 1 } }), /counted .* traced/);
  refused(locks({ read: { ...vcpus.read, acquisitions: 1 } }), /times by mode/);
  refused(locks({ failed: vcpus.failed + 1 }), /times by mode/);
  refused(locks({ lost: 1 }), /not complete: 1 events/);
  refused(locks({ unmatched: 1 }), /do not follow/);
  refused({ ...traced, locks: null }, /not counted/);
  refused(
    { ...of('counted'), perFault: { ...traced.perFault, mmapLockAcquisitions: null } },
    /not counted/,
  );
  const { faults, background } = traced;
  refused({ ...traced, faults: { ...faults, count: faults.count - 1 } }, /faults brought in/);
  const outcomes = { ...faults.outcomes, installed: 1023, present: 1 };
  refused({ ...traced, faults: { ...faults, outcomes } }, /1023 fault units/);
  const kernel = { ...traced.delivery, used: 'kernel' as const };
  checkRun({ ...traced, delivery: kernel });
  const fewer = { ...faults, count: 1023 };
  refused(
    { ...traced, delivery: kernel, faults: fewer },
    /served 1023 faults for 1024 fault units/,
  );
  refused({ ...traced, pages: { ...traced.pages, verified: 1023 } }, /1023 of 1024 pages/);
  const idle = background.map((one) => ({ ...one, count: 0 }));
  refused({ ...traced, guestSeconds: 1, background: idle }, /0 of 1/);
  checkRun({ ...traced, guestSeconds: 0.01, background: idle });
});

t.test('unlike runs are not compared', { skip }, async (t) => {
  const [first, second] = result!.runs as [ContentionRun, ContentionRun];
  checkAlike(result!.runs);
  const unlike = (change: object): ContentionRun => ({
    ...second,
    config: { ...second.config, ...change },
  });
  t.throws(() => checkAlike([first, unlike({ unitBytes: 65536 })]), /differ in unitBytes/);
  t.throws(() => checkAlike([first, unlike({ pin: { vcpu: [0] } })]), /differ in pin/);
  const fewer = { ...second, pages: { ...second.pages, touched: 7 } };
  t.throws(() => checkAlike([first, fewer]), /touched 1024 and 7/);
});

t.test('the words are those of the result alone', { skip }, async (t) => {
  const { rows, ...rest } = result!.summary;
  const untraced = rows.map((row) => ({
    ...row,
    read: { ...row.read, waitMicroseconds: null, holdMicroseconds: null },
  }));
  const calls = rest.calls.map((call) => ({
    ...call,
    ...(call.call === 'UFFDIO_CONTINUE' && { read: 1 }),
  }));
  const text = contention.describe({
    ...result!,
    summary: {
      ...rest,
      calls,
      rows: untraced,
      uncontendedWaitMicroseconds: null,
      notMeasured: { lockTimes: 'no tracepoint' },
    },
  });
  t.match(text, /lockTimes: not measured, no tracepoint\./);
  t.match(text, /UFFDIO_CONTINUE takes mmap_lock 1\.00 times a call/);
  t.notMatch(text, /µs of waiting/);
});

/** Runs a small bench in this process while `tamper` changes what a vCPU's thread ended with. */
async function tampered(
  tamper: (finish: Crew['vcpuFinishes'][number]) => object,
): Promise<unknown> {
  const original = Object.getOwnPropertyDescriptor(Crew.prototype, 'vcpuFinishes')!;
  Object.defineProperty(Crew.prototype, 'vcpuFinishes', {
    ...original,
    get(this: Crew) {
      const finishes: Crew['vcpuFinishes'] = original.get!.call(this);
      return finishes.map((finish) => ({ ...finish, ...tamper(finish) }));
    },
  });
  try {
    return await contention.run({
      pages: 64,
      repeat: 1,
      vcpus: [1],
      delivery: ['exit'],
      writers: [0],
    });
  } finally {
    Object.defineProperty(Crew.prototype, 'vcpuFinishes', original);
  }
}

const more = (perf: PerfReadings, name: 'mmapLockAcquisitions' | 'mmapLockWrites', by: number) => ({
  perf: { ...perf, [name]: { value: perf[name].value! + by } },
});

t.test('a bench whose counters lie fails', { skip }, async (t) => {
  await t.resolves(
    tampered(() => ({})),
    'and one whose counters do not succeeds',
  );
  await t.rejects(
    tampered(({ perf }) => more(perf, 'mmapLockWrites', 1)),
    { message: /contradicts itself: of vcpus, .* traced/ },
    'writes that nobody made',
  );
  await t.rejects(
    tampered(({ perf }) => more(perf, 'mmapLockAcquisitions', -1)),
    { message: /contradicts itself/ },
    'an acquisition that was not counted',
  );
  await t.rejects(
    tampered(({ lockTrace }) => ({ lockTrace: { ...lockTrace, missing: 3 } })),
    { message: /not complete: 3 events/ },
    'a trace with lost records',
  );
  await t.rejects(
    tampered(({ lockTrace }) => (lockTrace.why === null ? { lockTrace: { why: 'gone' } } : {})),
    { message: /could not be traced: gone/ },
  );
});

t.test('a bench whose memory is wrong fails', { skip }, async (t) => {
  const { compare } = PatternSource.prototype;
  t.teardown(() => {
    PatternSource.prototype.compare = compare;
  });
  PatternSource.prototype.compare = (page: number) => (page === 520 ? 5 : -1);
  await t.rejects(
    tampered(() => ({})),
    { message: /ended as mismatch/ },
  );
});

t.test('what cannot be compared, or says nothing, is refused', async (t) => {
  for (const [choices, why] of [
    [{ vcpus: [1, 2] }, /--vcpus takes one value/],
    [{ backing: ['shmem', 'anon-private'] }, /--backing takes one value/],
    [{ handlers: [1, 2] }, /--handlers takes one value/],
    [{ uffds: ['one', 'per-vcpu'] }, /--uffds takes one value/],
    [{ writers: [0], writerRate: 100 }, /--writer-rate says nothing/],
    [{ writers: [65] }, /--writers 65/],
    [{ backing: [`file:${t.testdir()}/memory`] }, /--delivery handler cannot be had/],
    [{ delivery: ['exit'], handlers: [2] }, /--handlers says nothing/],
  ] as const) {
    t.throws(() => planContention(choices), UsageError);
    t.throws(() => planContention(choices), { message: why });
  }
  const twice = planContention({ delivery: ['exit', 'exit'], writers: [0, 0] });
  t.equal(twice.variants.length, 1, 'what is asked for twice is one row');
  const plan = planContention({ vcpus: [4], handlers: ['vcpus'], pin: { vcpu: [0, 1] } });
  t.match(plan, { handlers: 4, repeat: 3 });
  t.match(plan.command, /--vcpus 4 .*--handlers 4 .*--writers 0,2 .*--pin 'vcpu=0,1'/);
  t.strictSame(
    plan.variants.map(({ label }) => label),
    ['kernel', 'handler', 'exit', 'kernel, 2 writers', 'handler, 2 writers', 'exit, 2 writers'],
  );
});
