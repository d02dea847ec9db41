import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import {
  allocateLink,
  closeLink,
  describeNetwork,
  type Network,
  nameOfNetwork,
} from '../../src/source/network-link.js';
import { type NetworkSpec, openSource, type SourceSpec } from '../../src/source/open-source.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { SharedSource } from '../../src/source/shared-source.js';
import type { NetworkThreadData, NetworkThreadEnd } from '../support/network-thread.js';
import { referenceWord } from '../support/reference-pattern.js';

const over = (network: Network): NetworkSpec => ({
  kind: 'network',
  of: { kind: 'pattern', seed: 7 },
  link: allocateLink(),
  ...network,
});

const transmission = ({ bitsPerSecond }: Network, bytes: number): number =>
  (bytes * 8e9) / bitsPerSecond;

/** Nanoseconds that `action` took. */
function timed(action: () => void): number {
  const before = process.hrtime.bigint();
  action();
  return Number(process.hrtime.bigint() - before);
}

async function transferInThreads(
  spec: SourceSpec,
  threads: number,
  transfers: number,
  bytes: number,
): Promise<number> {
  const barrier = new SharedArrayBuffer(4);
  const workerData: NetworkThreadData = { spec, barrier, threads, transfers, bytes };
  const ends = await Promise.all(
    Array.from({ length: threads }, async () => {
      const thread = new Worker(new URL('../support/network-thread.js', import.meta.url), {
        workerData,
      });
      const [[end]] = await Promise.all([once(thread, 'message'), once(thread, 'exit')]);
      return end as NetworkThreadEnd;
    }),
  );
  const began = ends.map((end) => end.began).reduce((a, b) => (a < b ? a : b));
  const ended = ends.map((end) => end.ended).reduce((a, b) => (a > b ? a : b));
  return Number(ended - began);
}

t.test('it contains what the source behind it does', async (t) => {
  const source = openSource(over({ bitsPerSecond: 1e12, latencyMicroseconds: 0 }));
  const words = new Int32Array(4096);
  t.equal(source.fill(9, words, 1024, 2048), true);
  t.equal(words[1024], referenceWord(9, 7, 0));
  t.equal(words[3071], referenceWord(10, 7, 1023));
  t.ok(
    words.subarray(0, 1024).every((word) => word === 0),
    'and writes where it is told alone',
  );
  t.ok(words.subarray(3072).every((word) => word === 0));
  t.equal(source.compare(9, words, 1024), -1);
  words[1024 + 77]! ^= 1;
  t.equal(source.compare(9, words, 1024), 77);
});

t.test('what the source behind it cannot supply, it cannot either', async (t) => {
  const source = openSource(over({ bitsPerSecond: 1e12, latencyMicroseconds: 0 }));
  const fill = PatternSource.prototype.fill;
  t.teardown(() => {
    PatternSource.prototype.fill = fill;
  });
  PatternSource.prototype.fill = () => false;
  t.equal(source.fill(0, new Int32Array(1024), 0, 1024), false);
});

for (const [network, bytes] of [
  [{ bitsPerSecond: 1e11, latencyMicroseconds: 0 }, 4096],
  [{ bitsPerSecond: 1e10, latencyMicroseconds: 30 }, 4096],
  [{ bitsPerSecond: 1e9, latencyMicroseconds: 100 }, 65536],
  [{ bitsPerSecond: 1e9, latencyMicroseconds: 0.5 }, 4096],
  [{ bitsPerSecond: 1e8, latencyMicroseconds: 1500 }, 4096],
  [{ bitsPerSecond: 1e9, latencyMicroseconds: 200 }, 2 ** 21],
] as const) {
  t.test(
    `${bytes} bytes over ${nameOfNetwork(network)} take as long as they must, every time`,
    { timeout: 20_000 },
    async (t) => {
      const source = openSource(over(network));
      const words = new Int32Array(bytes / 4);
      const least = transmission(network, bytes) + network.latencyMicroseconds * 1000;
      const times = Array.from({ length: 20 }, (_, round) =>
        timed(() => source.fill(round, words, 0, words.length)),
      );
      t.ok(Math.min(...times) >= least, `${Math.min(...times)} of at least ${least} ns`);
    },
  );
}

t.test('a wire that was idle gives nothing back', { timeout: 20_000 }, async (t) => {
  const network = { bitsPerSecond: 1e8, latencyMicroseconds: 0 };
  const source = openSource(over(network));
  const words = new Int32Array(65536 / 4);
  for (let round = 0; round < 3; round++) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    const nanoseconds = timed(() => source.fill(0, words, 0, words.length));
    t.ok(nanoseconds >= transmission(network, 65536), `${nanoseconds} ns`);
  }
});

t.test('threads share the wire: their transmissions add up', { timeout: 30_000 }, async (t) => {
  const network = { bitsPerSecond: 1e8, latencyMicroseconds: 5000 };
  const bytes = 8192; // 0.66 ms on the wire
  for (const threads of [2, 4]) {
    const nanoseconds = await transferInThreads(over(network), threads, 20, bytes);
    const wire = threads * 20 * transmission(network, bytes);
    t.ok(nanoseconds >= wire, `${threads} threads: ${nanoseconds} of at least ${wire} ns`);
  }
});

t.test('latencies overlap', { timeout: 30_000 }, async (t) => {
  const network = { bitsPerSecond: 1e12, latencyMicroseconds: 400_000 };
  const nanoseconds = await transferInThreads(over(network), 4, 1, 4096);
  t.ok(nanoseconds >= 0.4e9);
  t.ok(nanoseconds < 1.6e9, `${nanoseconds} ns, and one after the other it would be 1.6e9`);
});

const delayed = (delayMicroseconds: number, network: Network | null = null): SourceSpec =>
  new SharedSource({
    contents: { kind: 'pattern', seed: 7 },
    network,
    delayMicroseconds,
    faults: [],
    retries: 0,
  }).spec;

t.test('a page is never here before its delay, whatever its size', async (t) => {
  for (const microseconds of [0.5, 40, 300, 2500]) {
    const source = openSource(delayed(microseconds));
    for (const bytes of [4096, 2 ** 21]) {
      const words = new Int32Array(bytes / 4);
      const times = Array.from({ length: 10 }, (_, round) =>
        timed(() => source.fill(round, words, 0, words.length)),
      );
      t.ok(Math.min(...times) >= microseconds * 1000, `${Math.min(...times)} ns`);
    }
  }
  const words = new Int32Array(1024);
  openSource(delayed(10)).fill(9, words, 0, 1024);
  t.equal(words[1023], referenceWord(9, 7, 1023), 'and it is what it must be');
});

t.test('a delay comes on top of a network, and not on its wire', { timeout: 20_000 }, async (t) => {
  const network = { bitsPerSecond: 1e8, latencyMicroseconds: 1000 };
  const source = openSource(delayed(3000, network));
  const words = new Int32Array(1024);
  const least = transmission(network, 4096) + 4_000_000;
  for (let round = 0; round < 5; round++) {
    t.ok(timed(() => source.fill(round, words, 0, 1024)) >= least);
  }
  const wire = { bitsPerSecond: 1e12, latencyMicroseconds: 0 };
  const nanoseconds = await transferInThreads(delayed(400_000, wire), 4, 1, 4096);
  t.ok(nanoseconds >= 0.4e9 && nanoseconds < 1.6e9, `${nanoseconds} ns`);
});

t.test('delays of several threads overlap', { timeout: 30_000 }, async (t) => {
  const nanoseconds = await transferInThreads(delayed(200_000), 4, 2, 65536);
  t.ok(nanoseconds >= 0.4e9, 'each had two of them');
  t.ok(nanoseconds < 1.6e9, `${nanoseconds} ns, and one after the other it would be 1.6e9`);
});

t.test('two links are two wires', { timeout: 20_000 }, async (t) => {
  const network = { bitsPerSecond: 1e5, latencyMicroseconds: 0 };
  const busy = over(network);
  const words = new Int32Array(1024);
  openSource(busy).fill(0, words, 0, 1024);
  const again = timed(() => openSource(over(network)).fill(0, words, 0, 1024));
  t.ok(again < 2 * transmission(network, 4096), `${again} ns`);
});

t.test(
  'a closed link makes nobody wait, who has what it wanted',
  { timeout: 20_000 },
  async (t) => {
    const spec = over({ bitsPerSecond: 1000, latencyMicroseconds: 6e7 }); // minutes
    const running = transferInThreads(spec, 2, 2, 65536);
    // The threads may not wait yet: then they will not begin to.
    await new Promise((resolve) => setTimeout(resolve, 100));
    closeLink(spec.link);
    await running;
    const words = new Int32Array(1024);
    const source = openSource(spec);
    t.equal(source.fill(3, words, 0, 1024), true);
    t.equal(source.compare(3, words, 0), -1);
  },
);

t.test('a network is named as it is given, and described', async (t) => {
  const names = [
    [{ bitsPerSecond: 1e10, latencyMicroseconds: 50 }, '10G:50', '10 Gbit/s, latency 50 µs'],
    [{ bitsPerSecond: 2.5e9, latencyMicroseconds: 0 }, '2.5G:0', '2.5 Gbit/s, latency 0 µs'],
    [{ bitsPerSecond: 1e8, latencyMicroseconds: 0.5 }, '100M:0.5', '100 Mbit/s, latency 0.5 µs'],
    [{ bitsPerSecond: 56_000, latencyMicroseconds: 9 }, '56K:9', '56 kbit/s, latency 9 µs'],
    [{ bitsPerSecond: 300, latencyMicroseconds: 9 }, '300:9', '300 bit/s, latency 9 µs'],
  ] as const;
  for (const [network, name, description] of names) {
    t.equal(nameOfNetwork(network), name);
    t.equal(describeNetwork(network), description);
  }
});
