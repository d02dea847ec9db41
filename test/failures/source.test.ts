/** The source of missing pages is slow, fails now and then, or fails for good. */
import { join } from 'node:path';
import t from 'tap';
import { cli } from '../support/cli.js';
import { failingRun, failureTest } from '../support/failure-test.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(300_000);
const skip = kvmSkip();
const PAGE = 0x300000;
/** From a signal to the end of the process, or of the run. */
const WITHIN_MILLISECONDS = 1500;

/** Real mode: says R, then reads a word of memory at 0x50000, which is missing. */
const reads = Buffer.from([
  ...[0xba, 0xf8, 0x03], //       mov $0x3f8, %dx
  ...[0xb0, 0x52, 0xee], //       mov $'R', %al; out
  ...[0xb0, 0x0a, 0xee], //       mov $'\n', %al; out
  ...[0xb8, 0x00, 0x50], //       mov $0x5000, %ax
  ...[0x8e, 0xd8], //             mov %ax, %ds
  ...[0xa1, 0x00, 0x00], //       mov 0, %ax
  0xf4, //                        hlt
]);

for (const delivery of ['exit', 'handler'] as const) {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    t.test(
      `the source takes 10 s a request, and ${signal} arrives: ${delivery}`,
      { skip, timeout: 30_000 },
      async (t) => {
        const image = join(t.testdir({ reads }), 'reads');
        let sent = 0;
        const result = await cli(
          [
            ...['run', image, '--memory', '8M', '--delivery', delivery, '--vcpus', '2', '--json'],
            ...['--fail-source', 'delay=10000'],
          ],
          [],
          (written, child) => {
            if (sent === 0 && written.includes('R\n')) {
              sent = performance.now();
              child.kill(signal);
            }
          },
        );
        const took = performance.now() - sent;
        t.comment(`the guest has said that it is about to touch the page; ${took.toFixed(0)} ms`);
        t.ok(took < WITHIN_MILLISECONDS, `it ended within ${took.toFixed(0)} ms`);
        t.equal(result.status, 1, result.stderr);
        const json = JSON.parse(result.stdout);
        t.match(json, { outcome: 'error', error: { code: 'interrupted' } });
        t.equal(json.source.failures, 0, 'nobody gave up on the source');
      },
    );
  }

  failureTest(`a pause between two tries ends with the run: ${delivery}`, { skip }, async (t) => {
    const controller = new AbortController();
    let aborted = 0;
    const result = await failingRun(t, {
      delivery,
      vcpus: 2,
      params: { share: 'overlap' },
      failSource: [{ kind: 'page', address: PAGE, times: null }],
      sourceRetries: 1000, // a quarter of an hour of pauses
      signal: controller.signal,
      onProgress: ({ seconds }) => {
        if (seconds > 1.5 && aborted === 0) {
          aborted = performance.now();
          controller.abort();
        }
      },
    });
    const took = performance.now() - aborted;
    t.ok(took < WITHIN_MILLISECONDS, `it ended within ${took.toFixed(0)} ms`);
    t.match(result, { outcome: 'error', error: { code: 'interrupted' } });
    t.ok(result.source!.retries > 2, `${result.source!.retries} retries when it ended`);
    t.equal(result.source!.failures, 0);
  });

  for (const around of [0, 15] as const) {
    failureTest(
      `a page fails once and works then, ${around} neighbours: ${delivery}`,
      { skip },
      async (t) => {
        const result = await failingRun(t, {
          delivery,
          around,
          vcpus: 2,
          params: { share: 'overlap', write: '50' },
          failSource: [{ kind: 'page', address: PAGE, times: 1 }],
        });
        t.equal(result.outcome, 'completed');
        t.strictSame(result.source, { retries: 1, failures: 0 });
        t.equal(result.pages.verified, result.pages.touched);
        t.equal(result.faults.outcomes['memory-error'], 0);
      },
    );

    failureTest(`a page fails for good, ${around} neighbours: ${delivery}`, { skip }, async (t) => {
      const result = await failingRun(t, {
        delivery,
        around,
        vcpus: 2,
        params: { share: 'overlap' },
        failSource: [{ kind: 'page', address: PAGE, times: null }],
        sourceRetries: 2,
      });
      t.match(result, {
        outcome: 'memory-error',
        error: {
          code: 'memory-error',
          message:
            /no contents for GPA 0x300000 .*: its source could not supply it, tried 3 times$/,
        },
      });
      t.ok(result.source!.failures >= 1);
      t.ok(result.source!.retries >= 2);
    });
  }

  failureTest(`every tenth request fails: ${delivery}`, { skip }, async (t) => {
    const result = await failingRun(t, {
      delivery,
      vcpus: 4,
      params: { order: 'random', pages: '500' },
      failSource: [{ kind: 'every', requests: 10, times: null }],
      prefetch: { bytesPerSecond: 2 ** 20 },
    });
    t.equal(result.outcome, 'completed');
    t.ok(result.source!.retries >= 50, `${result.source!.retries} retries`);
    t.equal(result.pages.verified, 500);
  });
}

failureTest('without retries one failure is the end', { skip }, async (t) => {
  const result = await failingRun(t, {
    failSource: [{ kind: 'page', address: PAGE, times: 1 }],
    sourceRetries: 0,
  });
  t.match(result.error, { code: 'memory-error', message: /its source could not supply it$/ });
  t.strictSame(result.source, { retries: 0, failures: 1 });
});

failureTest(
  'what fails while it is prefetched is an error for whoever touches it',
  { skip },
  async (t) => {
    const result = await failingRun(t, {
      delivery: 'exit',
      params: { pages: '64' }, // up to GPA 0x240000
      prefetch: { bytesPerSecond: null },
      failSource: [{ kind: 'page', address: PAGE, times: null }],
      sourceRetries: 1,
    });
    t.equal(result.outcome, 'completed', 'and nobody does');
    t.equal(result.pages.verified, 64);
  },
);

failureTest('the source fails on memory that UFFDIO_COPY fills', { skip }, async (t) => {
  const result = await failingRun(t, {
    backing: 'anon-private',
    failSource: [
      { kind: 'every', requests: 7, times: null },
      { kind: 'page', address: PAGE, times: null },
    ],
  });
  t.match(result.error, { code: 'memory-error', message: /GPA 0x300000.*tried 4 times$/ });
  t.ok(result.source!.retries > 3);
});

failureTest('nothing asks the source under delivery kernel', { skip }, async (t) => {
  const result = await failingRun(t, { delivery: 'kernel' });
  t.equal(result.source, null);
});
