/** Runs whose pages come over an imitated network, and what their guests wait for. */
import t from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { BackingName } from '../../src/memory/backing.js';
import { kvmSkip } from '../support/host.js';

const MIB = 2 ** 20;
const skip = kvmSkip();
t.setTimeout(120_000);

const options = {
  image: 'touch',
  memoryBytes: 16 * MIB,
  params: { pages: '1024' },
  timeoutSeconds: 30,
  countKernelEvents: false,
} satisfies RunOptions;

for (const delivery of ['exit', 'handler'] as const) {
  for (const backing of ['shmem', 'anon-private'] as const satisfies BackingName[]) {
    for (const vcpus of [1, 4]) {
      t.test(
        `no faster than the wire, and verified: ${delivery}, ${backing}, ${vcpus} vCPUs`,
        { skip },
        async (t) => {
          const network = { bitsPerSecond: 400e6, latencyMicroseconds: 100 };
          const result = await runGuest({ ...options, delivery, backing, vcpus, network });
          t.match(result, { outcome: 'completed', config: { network, source: 'pattern:1' } });
          t.match(result.pages, { touched: 1024, verified: 1024, mismatched: 0 });
          const wireSeconds = (1024 * 4096 * 8) / network.bitsPerSecond;
          t.ok(result.guestSeconds! >= wireSeconds, `${result.guestSeconds} of ${wireSeconds} s`);
        },
      );
    }
  }
}

t.test('neighbours come with the same request', { skip }, async (t) => {
  const network = { bitsPerSecond: 1e9, latencyMicroseconds: 20_000 };
  const around = 255;
  const result = await runGuest({ ...options, delivery: 'exit', network, around });
  t.equal(result.outcome, 'completed');
  t.equal(result.faults.count, 4);
  const requests = result.guestSeconds! / 0.02;
  t.ok(requests >= 4 && requests < 1024 / 2, `time for ${requests.toFixed(1)} latencies`);
});

/** 32 pages, each 60 ms later: 1.9 s, one after the other. */
const DELAYED = { delayMicroseconds: 60_000, params: { pages: '32' }, vcpus: 4 } as const;

for (const [delivery, atOnce] of [
  ['exit', 4],
  ['handler', 4],
  ['handler', 1],
] as const) {
  t.test(
    `every page is here so much later, ${atOnce} at a time: ${delivery}`,
    { skip },
    async (t) => {
      const way = delivery === 'handler' ? { handlers: atOnce } : {};
      const run = await runGuest({ ...options, ...DELAYED, delivery, ...way });
      t.match(run, { outcome: 'completed', pages: { verified: 32 } });
      t.equal(run.faults.outcomes.installed, 32);
      const { fromMicroseconds, counts } = run.latencyHistogram!;
      t.equal(
        counts.reduce((sum, count) => sum + count, 0),
        32,
        'every first access is in it',
      );
      t.ok(fromMicroseconds[0]! * 2 > DELAYED.delayMicroseconds, 'and none was sooner');
      const least = (32 / atOnce) * 0.06;
      t.ok(run.guestSeconds! >= least, `${run.guestSeconds} of ${least} s`);
      if (atOnce > 1) {
        t.ok(run.guestSeconds! < 0.75 * 32 * 0.06, `${run.guestSeconds} s: they overlap`);
      }
      const json = JSON.stringify(run);
      t.equal(JSON.parse(json).config.delayMicroseconds, 60_000);
      t.strictSame(JSON.parse(json).config, run.config, 'nothing in it is lost in JSON');
      t.equal(run.config.network, null);
    },
  );
}

t.test('a run without a network says so', { skip }, async (t) => {
  const { config } = await runGuest(options);
  t.equal(config.network, null);
});

for (const delivery of ['exit', 'handler'] as const) {
  t.test(
    `a run that is cut short does not wait for the network: ${delivery}`,
    { skip },
    async (t) => {
      const result = await runGuest({
        ...options,
        delivery,
        vcpus: 2,
        network: { bitsPerSecond: 1000, latencyMicroseconds: 6e7 },
        timeoutSeconds: 1,
      });
      t.match(result, { outcome: 'timeout', error: { code: 'timeout' } });
    },
  );
}

t.test(
  'each fault of a page of its own: the first instruction is the first access',
  {
    skip,
  },
  async (t) => {
    const result = await runGuest({ ...options, delivery: 'exit' });
    t.not(result.latencyMicroseconds, null);
    t.strictSame(result.firstInstructionMicroseconds, result.latencyMicroseconds);
  },
);

for (const delivery of ['exit', 'handler'] as const) {
  t.test(
    `units of 16 pages: of sixteen first accesses one is a fault: ${delivery}`,
    {
      skip,
    },
    async (t) => {
      const network = { bitsPerSecond: 1e9, latencyMicroseconds: 2000 };
      const unitBytes = 65536;
      const result = await runGuest({ ...options, delivery, network, unitBytes });
      t.equal(result.faults.outcomes.installed, 64);
      const least = network.latencyMicroseconds + (unitBytes * 8e6) / network.bitsPerSecond;
      const { p50, max } = result.firstInstructionMicroseconds!;
      // A percentile is the middle of a bucket, which is 1/16 wide.
      t.ok(p50 >= least * 0.96, `${p50} of at least ${least} µs`);
      t.equal(max, result.latencyMicroseconds!.max);
      t.ok(result.latencyMicroseconds!.p50 < least, 'the other accesses do not wait');
      t.ok(result.latencyMicroseconds!.p90 < least);
    },
  );
}

t.test(
  'where it is not known which accesses were faults, there is no figure',
  { skip },
  async (t) => {
    const kernel = await runGuest({ ...options, delivery: 'kernel' });
    t.not(kernel.latencyMicroseconds, null);
    t.equal(kernel.firstInstructionMicroseconds, null);
    const hello = await runGuest({ image: 'hello', memoryBytes: 4 * MIB });
    t.equal(hello.firstInstructionMicroseconds, null);
  },
);

for (const order of ['sequential', 'random', 'strided']) {
  for (const vcpus of [1, 3]) {
    t.test(`one page in 16: ${order}, ${vcpus} vCPUs`, { skip }, async (t) => {
      const params = { pages: '200', every: '16', order, stride: '7', write: '50', passes: '2' };
      const result = await runGuest({ ...options, delivery: 'exit', vcpus, params });
      t.match(result, {
        outcome: 'completed',
        pages: { touched: 200, verified: 200, mismatched: 0 },
      });
      t.equal(result.faults.outcomes.installed, 200, 'pages between them are never asked for');
      const large = await runGuest({ ...options, delivery: 'exit', vcpus, params, unitBytes: MIB });
      t.match(large, {
        outcome: 'completed',
        pages: { touched: 200, verified: 200, mismatched: 0 },
      });
      t.equal(large.faults.outcomes.installed, 13, '200 * 16 pages are 12.5 MiB');
    });
  }
}
