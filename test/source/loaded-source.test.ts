import fc from 'fast-check';
import t from 'tap';
import { LoadedSource, loadPages, pagesOf } from '../../src/source/loaded-source.js';
import { PatternSource } from '../../src/source/pattern-source.js';

const pattern = new PatternSource(5);
const PAGES = 24;

/** What memory holds in the end, byte by byte. */
function model(
  pieces: readonly { address: number; data: Uint8Array; bytes: number }[],
): Uint8Array {
  const words = new Int32Array(PAGES * 1024);
  pattern.fill(0, words, 0, words.length);
  const memory = new Uint8Array(words.buffer);
  for (const { address, data, bytes } of pieces) {
    memory.fill(0, address, address + bytes);
    memory.set(data.subarray(0, bytes), address);
  }
  return memory;
}

const piece = fc
  .record({
    address: fc.integer({ min: 0, max: (PAGES - 4) * 4096 }),
    data: fc.uint8Array({ maxLength: 9000 }),
    zeroes: fc.integer({ min: 0, max: 6000 }),
  })
  .map(({ address, data, zeroes }) => ({ address, data, bytes: data.length + zeroes }));

t.test('pieces lie where they belong, and all else is the other source', async () => {
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 4 }),
      fc.integer({ min: 0, max: PAGES - 1 }),
      fc.integer({ min: 1, max: PAGES }),
      (pieces, first, count) => {
        const source = new LoadedSource(pattern, loadPages(pattern, pieces));
        const pages = Math.min(count, PAGES - first);
        const words = new Int32Array((pages + 1) * 1024);
        if (!source.fill(first, words, 1024, pages * 1024)) {
          return false;
        }
        const found = Buffer.from(words.buffer, 4096);
        const wanted = model(pieces).subarray(first * 4096, (first + pages) * 4096);
        return (
          found.equals(wanted) &&
          source.compare(first, words, 1024) === -1 &&
          words.subarray(0, 1024).every((word) => word === 0)
        );
      },
    ),
    { numRuns: 300 },
  );
});

t.test('a word that differs is found, in loaded pages and in others', async (t) => {
  const pieces = [{ address: 4096, data: new Uint8Array(100).fill(9), bytes: 100 }];
  const source = new LoadedSource(pattern, loadPages(pattern, pieces));
  const words = new Int32Array(2048);
  source.fill(0, words, 0, 2048);
  words[30]! ^= 1;
  words[1024 + 7]! ^= 1;
  t.equal(source.compare(0, words, 0), 30);
  t.equal(source.compare(1, words, 1024), 7);
});

t.test('what the other source cannot supply fails', async (t) => {
  const failing = { fill: () => false, compare: () => 0 };
  const pieces = [{ address: 0, data: new Uint8Array(4096), bytes: 4096 }];
  const source = new LoadedSource(failing, loadPages(pattern, pieces));
  t.equal(source.fill(0, new Int32Array(1024), 0, 1024), true);
  t.equal(source.fill(0, new Int32Array(2048), 0, 2048), false);
});

t.test('what is zero takes no room, and is zero all the same', async (t) => {
  const data = new Uint8Array(5000).fill(7);
  const pieces = [{ address: 2 * 4096, data, bytes: 16 * 4096 + 100 }];
  const pages = loadPages(pattern, pieces);
  t.equal(
    pages.data.byteLength,
    3 * 4096,
    'two pages of data, and the last, of which a part is not ours',
  );
  t.strictSame(
    [...pagesOf(pages)],
    Array.from({ length: 17 }, (_, index) => index + 2),
  );
  const source = new LoadedSource(pattern, pages);
  const words = new Int32Array(PAGES * 1024).fill(-1);
  t.equal(source.fill(0, words, 0, words.length), true);
  t.ok(Buffer.from(words.buffer).equals(model(pieces)));
  t.equal(source.compare(10, words, 10 * 1024), -1);
  words[10 * 1024 + 5] = 1;
  t.equal(source.compare(10, words, 10 * 1024), 5);
});
