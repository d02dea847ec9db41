/** Threads that change the address space beside a guest, and what the trace of mmap_lock says of them. */
import type { Worker } from 'node:worker_threads';
import t from 'tap';
import { type DeliveryName, runGuest } from '../../src/index.js';
import { perfEvents } from '../../src/measure/perf-counters.js';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';
import { machineDescriptors, mappingsOf } from '../support/leaks.js';

t.setTimeout(60_000);
const { trace } = perfEvents(true, { locks: true, faults: 0 });
const skip = kvmSkip() || (typeof trace === 'string' && trace);
const PAGES = 512;
const options = {
  image: 'touch',
  memoryBytes: 8 * 2 ** 20,
  params: { pages: String(PAGES), write: '100' },
} as const;

for (const delivery of ['kernel', 'handler', 'exit'] satisfies DeliveryName[]) {
  t.test(`${delivery}: counts and traces agree beside writers`, { skip }, async (t) => {
    const { outcome, pages, locks, notMeasured, background, perFault, faults } = await runGuest({
      ...options,
      delivery,
      writers: { threads: 2, perSecond: 5000, calls: 'mixed' },
      traceLocks: true,
    });
    t.match({ outcome, pages }, { outcome: 'completed', pages: { verified: PAGES } });
    t.notHas(notMeasured, 'locks');
    const kinds = delivery === 'handler' ? ['vcpus', 'handlers', 'writers'] : ['vcpus', 'writers'];
    t.strictSame(
      locks!.map(({ threads }) => threads),
      kinds,
    );
    for (const { threads, read, write, lost, unmatched, foreign } of locks!) {
      t.strictSame({ lost, unmatched, foreign }, { lost: 0, unmatched: 0, foreign: 0 }, threads);
      t.equal(read.traced, read.acquisitions, `${threads}: read`);
      t.equal(write.traced, write.acquisitions, `${threads}: write`);
    }
    const writers = locks!.at(-1)!;
    const changes = background.reduce((sum, { count }) => sum + count, 0);
    t.ok(changes > 0 && background.length === 2, `${changes} changes`);
    t.ok(
      writers.write.acquisitions >= (changes * 3) / 4 - 2,
      'three of four changes are for write',
    );
    const vcpus = locks![0]!;
    const taken = vcpus.read.acquisitions + vcpus.write.acquisitions + vcpus.failed;
    if (delivery !== 'handler') {
      t.equal(taken / faults.count, perFault.mmapLockAcquisitions, 'writers are not in it');
    }
  });
}

t.test('without being asked nothing is traced, and no writers run', { skip }, async (t) => {
  const counted = await runGuest({ ...options, delivery: 'exit' });
  t.match(counted.locks, [{ threads: 'vcpus', read: { traced: null, waitMicroseconds: null } }]);
  t.match(counted.config, { writers: null, traceLocks: false });
  t.strictSame(counted.background, []);
  const { locks } = await runGuest({ ...options, delivery: 'exit', countKernelEvents: false });
  t.equal(locks, null, 'nor is anything counted without');
});

t.test('of a traced thread that dies nothing stays', { skip }, async (t) => {
  const workers: Worker[] = [];
  const follow = (worker: Worker): number => workers.push(worker);
  process.on('worker', follow);
  const result = await runGuest({
    ...options,
    memoryBytes: 256 * 2 ** 20,
    params: {},
    delivery: 'exit',
    writers: { threads: 1, perSecond: 100, calls: 'mixed' },
    traceLocks: true,
    onProgress: ({ faults }) => {
      if (faults > 0) {
        void workers.at(-1)!.terminate();
      }
    },
  });
  process.off('worker', follow);
  t.match(result.error, { message: 'the thread of writer 0 ended without a word' });
  t.strictSame(mappingsOf('perf_event'), []);
  t.strictSame(machineDescriptors(), []);
});

t.test('run --writers says what they did', { skip: kvmSkip() }, async (t) => {
  const args = ['run', 'touch', '--memory', '8M', '--delivery', 'exit', '--param', 'pages=512'];
  const { status, stdout } = await cli([
    ...args,
    '--writers',
    '2',
    '--writer-rate',
    '500',
    '--json',
  ]);
  t.equal(status, 0);
  t.match(JSON.parse(stdout), {
    outcome: 'completed',
    config: { writers: { threads: 2, perSecond: 500, calls: 'mixed' } },
    background: [
      { chore: 'writer', end: 'stopped' },
      { chore: 'writer', end: 'stopped' },
    ],
  });
  t.match(await cli([...args, '--writers', '1']), {
    status: 0,
    stdout: /^writer +\d+ changes of the address space by \d+ calls$/m,
  });
  t.match(await cli([...args, '--writers', '65']), { status: 2, stderr: /--writers 65/ });
  t.match(await cli([...args, '--writers', '2:500']), { status: 2, stderr: /whole number/ });
  for (const rate of ['0', '1000001']) {
    const refused = await cli([...args, '--writers', '1', '--writer-rate', rate]);
    t.match(refused, { status: 2, stderr: new RegExp(`--writer-rate ${rate} is not above 0`) });
  }
  t.match(await cli([...args, '--writer-rate', '5']), {
    status: 2,
    stderr: /says nothing without/,
  });
});
