import { InvalidArgumentError } from 'commander';
import fc from 'fast-check';
import t from 'tap';
import { listOf, parseFault, parseNetwork, parseWhole } from '../../src/cli/option-values.js';
import { nameOfFault } from '../../src/source/faulty-source.js';
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

t.test('a fault of the source is a page, a period, a delay or a throw', async (t) => {
  const values = [
    ['page=0x200000', { kind: 'page', address: 0x200000, times: null }],
    ['page=4096:2', { kind: 'page', address: 4096, times: 2 }],
    ['every=100', { kind: 'every', requests: 100, times: null }],
    ['every=7:3', { kind: 'every', requests: 7, times: 3 }],
    ['delay=50', { kind: 'delay', milliseconds: 50 }],
    ['throw=0xABC000', { kind: 'throw', address: 0xabc000 }],
  ] as const;
  for (const [text, fault] of values) {
    t.strictSame(parseFault(text), [fault], text);
    t.strictSame(parseFault(nameOfFault(fault)), [fault], 'its name is the fault');
  }
  const [first] = parseFault('delay=1');
  t.strictSame(parseFault('page=0', [first!]).length, 2, 'they add up');
});

t.test('what is no fault of a source is refused', async (t) => {
  for (const text of [
    ...['', 'page', 'page=', 'page=x', 'page=0x', 'page=1:', 'page=1:x', 'page=-1', 'page=1:2:3'],
    ...['delay=1:2', 'throw=1:2', 'hold=1', 'every=0x', 'every= 1', 'toString=1', 'delay=1.5'],
    `page=0x${'f'.repeat(14)}`,
  ]) {
    t.throws(() => parseFault(text), InvalidArgumentError, `"${text}"`);
  }
});
