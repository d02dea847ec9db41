import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { MemoryChanges } from '../../src/memory/changes.js';
import type { ChangingThreadData } from '../support/changing-thread.js';

const never = (): boolean => false;

t.test('whoever read the sequence before and after a change was disturbed', async (t) => {
  const changes = new MemoryChanges(MemoryChanges.allocate());
  const before = changes.sequence;
  t.notOk(changes.disturbed(before));
  t.ok(changes.begin(never));
  t.ok(changes.disturbed(before), 'while it goes on');
  const during = changes.sequence;
  t.ok(changes.disturbed(during), 'also who began then');
  changes.end();
  t.ok(changes.disturbed(before));
  t.ok(changes.disturbed(during));
  t.notOk(changes.disturbed(changes.sequence), 'and not who begins after');
});

t.test('a second change does not begin while the first goes on', async (t) => {
  const changes = new MemoryChanges(MemoryChanges.allocate());
  changes.begin(never);
  const during = changes.sequence;
  let asked = 0;
  t.notOk(
    changes.begin(() => ++asked === 3),
    'it gives up when told to stop',
  );
  t.equal(asked, 3);
  t.equal(changes.sequence, during, 'and leaves no trace');
  changes.end();
  t.ok(
    changes.begin(() => true),
    'one that needs not wait is not asked',
  );
  changes.end();
});

t.test('wait comes back by itself, at once if nothing goes on', async (t) => {
  const changes = new MemoryChanges(MemoryChanges.allocate());
  changes.wait();
  changes.begin(never);
  changes.wait();
  t.ok(changes.disturbed(changes.sequence), 'its time was over, the change is not');
});

t.test('the sequence goes on after 2^31 changes', async (t) => {
  const buffer = MemoryChanges.allocate();
  const changes = new MemoryChanges(buffer);
  const word = new Int32Array(buffer);
  word[0] = 2 ** 31 - 2;
  for (let change = 0; change < 3; change++) {
    const before = changes.sequence;
    t.ok(changes.begin(never));
    t.equal(changes.sequence & 1, 1);
    changes.end();
    t.equal(changes.sequence & 1, 0);
    t.ok(changes.disturbed(before));
  }
  t.equal(word[0], -(2 ** 31) + 4);
});

t.test('threads change one at a time', { timeout: 30_000 }, async (t) => {
  const data: ChangingThreadData = {
    changes: MemoryChanges.allocate(),
    shared: new SharedArrayBuffer(8),
    rounds: 3000,
  };
  const workers = [1, 2, 3].map(
    () =>
      new Worker(new URL('../support/changing-thread.js', import.meta.url), { workerData: data }),
  );
  t.teardown(() => Promise.all(workers.map((worker) => worker.terminate())));
  const overlaps = await Promise.all(
    workers.map(async (worker) => (await once(worker, 'message'))[0] as number),
  );
  t.strictSame(overlaps, [0, 0, 0], 'none found another inside');
  const [, total] = new Int32Array(data.shared);
  t.equal(total, 9000, 'what they counted without atomics is right');
  t.equal(new MemoryChanges(data.changes).sequence, 18000);
});
