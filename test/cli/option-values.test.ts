import { InvalidArgumentError } from 'commander';
import fc from 'fast-check';
import t from 'tap';
import { listOf, parseNetwork, parseWhole } from '../../src/cli/option-values.js';
import { nameOfNetwork } from '../../src/source/network-link.js';

t.test('a network is a bit rate in powers of 1000, and a latency in microseconds', async (t) => {
  const values = [
    ['10G:50', 10e9, 50],
    ['10g:50', 10e9, 50],
    ['100M', 100e6, 0],
    ['2.5G:0.5', 2.5e9, 0.5],
    ['56K:0', 56_000, 0],
    ['1T', 1e12, 0],
    ['9600', 9600, 0],
  ] as const;
  for (const [text, bitsPerSecond, latencyMicroseconds] of values) {
    t.strictSame(parseNetwork(text), { bitsPerSecond, latencyMicroseconds }, text);
  }
});

t.test('what is no network is refused', async (t) => {
  for (const text of [
    '',
    'G',
    '10X',
    '10G:',
    ':50',
    '10G:50:1',
    '-1G',
    '1e9',
    '10 G',
    '.5G',
    '1G,2G',
  ]) {
    t.throws(() => parseNetwork(text), InvalidArgumentError, `"${text}"`);
  }
});

t.test('the name of a network is the network', async (t) => {
  const rates = fc.tuple(fc.integer({ min: 1000, max: 2e9 }), fc.constantFrom(1, 10, 500));
  fc.assert(
    fc.property(rates, fc.integer({ min: 0, max: 1e6 }), ([rate, times], latencyMicroseconds) => {
      const network = { bitsPerSecond: rate * times, latencyMicroseconds };
      const parsed = parseNetwork(nameOfNetwork(network));
      return (
        Math.abs(parsed.bitsPerSecond / network.bitsPerSecond - 1) < 1e-12 &&
        parsed.latencyMicroseconds === latencyMicroseconds
      );
    }),
  );
  t.pass();
});

t.test('a list has each of its parts once', async (t) => {
  t.strictSame(listOf(parseWhole)('3,1,3'), [3, 1]);
  t.strictSame(listOf(parseWhole)('3'), [3]);
  t.throws(() => listOf(parseWhole)('3,,1'), InvalidArgumentError);
  t.throws(() => listOf(parseWhole)(''), InvalidArgumentError);
});
