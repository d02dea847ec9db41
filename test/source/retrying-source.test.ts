import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import type { SourceFault } from '../../src/source/faulty-source.js';
import { openSource, type SourceSpec } from '../../src/source/open-source.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { SharedSource } from '../../src/source/shared-source.js';

const contents = { kind: 'pattern', seed: 9 } as const;
const right = new PatternSource(9);

const shared = (faults: readonly SourceFault[], retries: number): SharedSource =>
  new SharedSource({ contents, network: null, delayMicroseconds: 0, faults, retries });

const failing = (times: number | null): SourceFault[] => [{ kind: 'page', address: 0, times }];

t.test('a source that works is asked once', async (t) => {
  const run = shared([], 3);
  const words = new Int32Array(1024);
  t.equal(openSource(run.spec).fill(0, words, 0, 1024), true);
  t.equal(right.compare(0, words, 0), -1);
  t.strictSame(run.tally, { retries: 0, failures: 0 });
});

for (const [times, retries, works, tally] of [
  [1, 3, true, { retries: 1, failures: 0 }],
  [3, 3, true, { retries: 3, failures: 0 }],
  [4, 3, false, { retries: 3, failures: 1 }],
  [null, 3, false, { retries: 3, failures: 1 }],
  [1, 0, false, { retries: 0, failures: 1 }],
] as const) {
  t.test(
    `it fails ${times ?? 'any number of'} times, ${retries} retries: ${works}`,
    { timeout: 20_000 },
    async (t) => {
      const run = shared(failing(times), retries);
      const words = new Int32Array(1024);
      t.equal(openSource(run.spec).fill(0, words, 0, 1024), works);
      t.equal(right.compare(0, words, 0) === -1, works, 'its contents');
      t.strictSame(run.tally, tally);
    },
  );
}

t.test('pauses double, from 5 ms', { timeout: 20_000 }, async (t) => {
  const run = shared(failing(null), 4);
  const began = performance.now();
  openSource(run.spec).fill(0, new Int32Array(1024), 0, 1024);
  const took = performance.now() - began;
  t.ok(took >= 5 + 10 + 20 + 40, `${took.toFixed(1)} ms`); // no upper limit on a busy host
});

t.test('what throws is not asked again', async (t) => {
  const run = shared([{ kind: 'throw', address: 0 }], 3);
  t.throws(() => openSource(run.spec).fill(0, new Int32Array(1024), 0, 1024), /threw/);
  t.strictSame(run.tally, { retries: 0, failures: 0 });
});

t.test('closing ends the pause of another thread', { timeout: 20_000 }, async (t) => {
  const run = shared(failing(null), 1000); // a quarter of an hour of pauses
  const thread = new Worker(new URL('../support/filling-thread.js', import.meta.url), {
    workerData: run.spec satisfies SourceSpec,
  });
  await once(thread, 'message');
  while (run.tally.retries < 3) {
    await new Promise(setImmediate); // it is in the middle of it
  }
  const [[works]] = await Promise.all([once(thread, 'message') as Promise<[boolean]>, run.close()]);
  t.equal(works, false);
  t.equal(run.tally.failures, 0, 'nobody gave up on it');
  await once(thread, 'exit');
});

t.test('the sources of a run lie on each other in one order', async (t) => {
  const network = { bitsPerSecond: 1e12, latencyMicroseconds: 0 };
  const { spec } = new SharedSource({
    contents,
    network,
    delayMicroseconds: 0,
    faults: failing(1),
    retries: 1,
  });
  t.match(spec, {
    kind: 'retrying',
    of: { kind: 'network', of: { kind: 'faulty', of: contents } },
  });
  const words = new Int32Array(1024);
  t.equal(openSource(spec).fill(0, words, 0, 1024), true);
  t.equal(right.compare(0, words, 0), -1);
});
