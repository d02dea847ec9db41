import { fstatSync } from 'node:fs';
import t from 'tap';
import { Descriptor } from '../../src/ffi/descriptor.js';
import { DefectError } from '../../src/ffi/errors.js';
import { ftruncate, memfd_create } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { viewOf, WINDOW_BYTES, WindowedMemory } from '../../src/ffi/view.js';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/uapi/mman.js';

/** A sparse mapping of 2.5 GiB: two windows and a half. */
const BYTES = 2.5 * 2 ** 30;
const file = new Descriptor(memfd_create('faultline test window', 0));
ftruncate(file.fd, BYTES);
const mapping = Mapping.create(BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd);
const memory = new WindowedMemory(mapping.address, BYTES);

const sequence = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => index * 7 + 1);

t.teardown(() => {
  mapping.close();
  file.close();
});

t.test('windows cover the memory without gap or overlap', async (t) => {
  t.strictSame(
    memory.words.map((words) => words.byteLength),
    [WINDOW_BYTES, WINDOW_BYTES, WINDOW_BYTES / 2],
  );
  memory.words[1]![5] = 0x0403_0201;
  t.strictSame([...memory.read(WINDOW_BYTES + 20, 4)], [1, 2, 3, 4]);
});

for (const [where, offset] of [
  ['inside a window', 12_345],
  ['across the first boundary', WINDOW_BYTES - 333],
  ['across the second boundary', 2 * WINDOW_BYTES - 1],
  ['up to a boundary', WINDOW_BYTES - 1000],
  ['from a boundary on', 2 * WINDOW_BYTES],
  ['up to the end', BYTES - 1000],
] as const) {
  t.test(`1000 bytes ${where} are read as written`, async (t) => {
    const data = sequence(1000);
    memory.write(offset, data);
    t.strictSame(memory.read(offset, 1000), data);
    memory.fill(offset + 1, 998, 0xee);
    const filled = memory.read(offset, 1000);
    t.strictSame([filled[0], filled[999]], [data[0], data[999]], 'fill keeps to its range');
    t.ok(filled.subarray(1, 999).every((byte) => byte === 0xee));
  });
}

t.test('one access may span three windows', async (t) => {
  const before = fstatSync(file.fd).blocks;
  memory.fill(WINDOW_BYTES - 4096, 4096, 0x11);
  memory.fill(2 * WINDOW_BYTES, 4096, 0x22);
  const data = memory.read(WINDOW_BYTES - 1, 1);
  t.equal(data[0], 0x11);
  // Writing all of the middle window would allocate a GiB, so an empty one is written at each end.
  t.doesNotThrow(() => memory.write(WINDOW_BYTES, new Uint8Array()));
  t.doesNotThrow(() => memory.write(BYTES, new Uint8Array()));
  t.ok(fstatSync(file.fd).blocks - before <= 32, 'nothing else was touched');
});

t.test('what lies outside is refused, and nothing is written', async (t) => {
  for (const [offset, length] of [
    [-1, 1],
    [BYTES, 1],
    [BYTES - 3, 4],
    [0, BYTES + 1],
  ] as const) {
    t.throws(() => memory.fill(offset, length, 0xff), { message: /lie outside/ });
  }
  memory.fill(BYTES - 3, 3, 0);
  t.throws(() => memory.write(BYTES - 3, sequence(4)), { message: /lie outside/ });
  t.throws(() => memory.read(BYTES - 3, 4), { message: /lie outside/ });
  t.throws(() => memory.read(0, -1), RangeError);
  t.strictSame([...memory.read(BYTES - 3, 3)], [0, 0, 0]);
});

t.test('a view is of the memory itself', async (t) => {
  const view = new Uint8Array(viewOf(mapping.address + 4096, 16));
  view[3] = 99;
  t.equal(memory.read(4099, 1)[0], 99);
});

t.test('views that would abort the process are refused', async (t) => {
  for (const [address, bytes] of [
    [mapping.address, WINDOW_BYTES + 1],
    [mapping.address, 2 ** 33],
    [mapping.address, 0],
    [mapping.address, -1],
    [0, 4096],
    [-4096, 4096],
    [2 ** 53, 4096],
    [mapping.address + 0.5, 4096],
    [Number.NaN, 4096],
  ] as const) {
    t.throws(() => viewOf(address, bytes), DefectError, `${bytes} bytes at ${address}`);
  }
});
