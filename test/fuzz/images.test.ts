/** Images are untrusted: whatever is in a file, it is an image or a UsageError says why not. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { findBundled, pathOfBundled } from '../../src/machine/bundled-guests.js';
import { isElf, parseElf } from '../../src/machine/elf-image.js';
import { FLAT_ENTRY, GDT_ADDRESS, IMAGE_START } from '../../src/machine/guest-physical-map.js';
import { type Image, loadImage } from '../../src/machine/image.js';
import { buildElf } from '../support/elf-builder.js';
import { ROOM, tryCases } from './cases.js';
import { orRefuses } from './complaints.js';
import { anyElf, anyNotes, mutationsOf } from './elf-files.js';

t.setTimeout(240_000 * ROOM);
const path = `${t.testdir()}/image`;

/** What the rest of the machine relies on. */
function checkImage(image: Image): void {
  let sum = 0;
  for (const { address, data, bytes } of image.segments) {
    assert(Number.isSafeInteger(address) && address >= IMAGE_START, `segment at ${address}`);
    assert(Number.isSafeInteger(bytes) && bytes >= data.length, `${data.length} of ${bytes} bytes`);
    sum += bytes;
  }
  assert(sum <= 2 ** 30, `${sum} bytes of memory`);
  assert(
    image.segments.some(({ address, bytes }) => {
      return image.entry >= address && image.entry < address + bytes;
    }),
    `entry ${image.entry} outside`,
  );
  for (const value of Object.values(image.note ?? {})) {
    assert(Number.isSafeInteger(value), `a note with ${value}`);
  }
}

function checkElf(file: Uint8Array): void {
  const image = orRefuses(() => parseElf(file, 'fuzzed.elf'));
  if (image !== null) {
    checkImage(image);
  }
}

const touch = readFileSync(pathOfBundled(findBundled('touch')!));

t.test('a real image, mutated', async (t) => {
  await tryCases(t, 'images: mutated ELF', mutationsOf(touch), checkElf);
});

t.test('headers of any fields', async (t) => {
  await tryCases(t, 'images: ELF of any fields', anyElf, checkElf);
});

t.test('notes of any shape', async (t) => {
  const files = anyNotes.map((note) => buildElf({ note }));
  await tryCases(t, 'images: notes', files, checkElf);
});

t.test('bytes that are nothing', async (t) => {
  await tryCases(t, 'images: any bytes', fc.uint8Array({ maxLength: 300 }), checkElf);
});

t.test('flat binaries', async (t) => {
  const room = GDT_ADDRESS - FLAT_ENTRY;
  const sizes = fc.oneof(
    fc.integer({ min: 0, max: 2 * room }),
    fc.constantFrom(0, 1, room - 1, room, room + 1, 4 * 2 ** 20),
  );
  await tryCases(t, 'images: flat, of any size', fc.tuple(sizes, fc.integer()), ([size, word]) => {
    const file = Buffer.alloc(size, Buffer.from([word, word >> 8, word >> 16, word >> 24]));
    writeFileSync(path, file);
    const image = orRefuses(() => loadImage(path));
    assert.equal(image !== null, size > 0 && size <= room && !isElf(file), `${size} bytes`);
    if (image !== null) {
      assert.equal(image.mode, 'real');
      assert.equal(image.entry, FLAT_ENTRY);
      assert.deepEqual(
        image.segments.map(({ bytes }) => bytes),
        [size],
      );
      assert(file.equals(image.segments[0]!.data));
    }
  });
});
