import fc from 'fast-check';
import t from 'tap';
import { memcmp } from '../../src/ffi/libc.js';
import { ScratchPage, scratch } from '../../src/ffi/scratch.js';

const EDGES = [
  0,
  1,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 32 + 1,
  2 ** 33 - 1,
  2 ** 52,
  Number.MAX_SAFE_INTEGER,
];

t.test('64-bit values below 2^53 are stored as C has them, and read back', async (t) => {
  const page = new ScratchPage(64);
  const view = new DataView(page.u8.buffer);
  const agrees = (value: number): boolean => {
    page.setU64(8, value);
    return view.getBigUint64(8, true) === BigInt(value) && page.getU64(8) === value;
  };
  for (const value of EDGES) {
    t.ok(agrees(value), `${value}`);
  }
  fc.assert(fc.property(fc.maxSafeNat(), agrees), { numRuns: 5000 });
  t.equal(page.getU64(0) + page.getU64(16), 0, 'the neighbours are untouched');
});

t.test('signed values are read as C has them', async (t) => {
  const page = new ScratchPage(64);
  const view = new DataView(page.u8.buffer);
  const agrees = (value: number): boolean => {
    view.setBigInt64(24, BigInt(value), true);
    return page.getS64(24) === value;
  };
  for (const value of EDGES) {
    t.ok(agrees(value), `${value}`);
    t.ok(agrees(-value || 0), `${-value}`);
  }
  fc.assert(fc.property(fc.maxSafeInteger(), agrees), { numRuns: 5000 });
});

t.test('any 64-bit value, exact as a BigInt', async (t) => {
  const page = new ScratchPage(64);
  const view = new DataView(page.u8.buffer);
  for (const value of [0n, 1n, 2n ** 32n - 1n, 2n ** 53n + 1n, 0xffff_ffff_8123_4567n]) {
    view.setBigUint64(8, value, true);
    t.equal(page.getBigU64(8), value);
  }
});

t.test('clear zeroes its range alone', async (t) => {
  const page = new ScratchPage(64);
  page.u8.fill(0xff);
  page.clear(8, 16);
  t.strictSame(
    [...page.u8].map((byte) => byte === 0),
    Array.from({ length: 64 }, (_, at) => at >= 8 && at < 24),
  );
});

t.test('its address is where the kernel and libc find its bytes', async (t) => {
  const [a, b] = [new ScratchPage(), new ScratchPage()];
  a.u8.fill(7);
  b.u8.fill(7);
  t.equal(memcmp(a.address, b.address, 4096), 0);
  b.u8[4095] = 8;
  t.ok(memcmp(a.address, b.address, 4096) < 0);
  t.equal(a.address % 8, 0, 'aligned for 64-bit fields');
});

t.test('all views are of the same bytes', async (t) => {
  const page = new ScratchPage(16);
  page.u32[0] = 0xfedc_ba98;
  t.equal(page.u8[0], 0x98);
  t.equal(page.u16[1], 0xfedc);
  t.equal(page.s32[0], 0xfedc_ba98 | 0);
  t.ok(scratch.bytes >= 4096);
});
