import fc from 'fast-check';
import t from 'tap';
import { PatternSource, patternBase } from '../../src/source/pattern-source.js';
import { referenceWord } from '../support/reference-pattern.js';

const seeds = fc.integer({ min: 0, max: 0xffff_ffff });
const pageNumbers = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  fc.constantFrom(0, 1, 511, 512, 2 ** 18 - 1, 2 ** 18, 2 ** 31, 2 ** 32 - 1),
);

/** A window with something in every word, so that a word left out is noticed. */
const dirty = (words: number): Int32Array => new Int32Array(words).fill(-0x2152_4111);

t.test(
  'every word is what the formula in guest-images/abi.h says',
  { timeout: 30_000 },
  async (t) => {
    fc.assert(
      fc.property(seeds, pageNumbers, (seed, page) => {
        const words = dirty(1024);
        return (
          new PatternSource(seed).fill(page, words, 0, 1024) &&
          words.every((word, index) => word === referenceWord(page, seed, index))
        );
      }),
    );
    t.pass('100 pages of 1024 words');
  },
);

t.test('the first word is the base', async (t) => {
  fc.assert(
    fc.property(seeds, pageNumbers, (seed, page) => {
      return patternBase(page, seed) === referenceWord(page, seed, 0);
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('several pages in one call are the pages one by one, and nothing around them', async (t) => {
  fc.assert(
    fc.property(
      seeds,
      pageNumbers,
      fc.integer({ min: 0, max: 3 }),
      fc.integer({ min: 1, max: 4 }),
      (seed, page, skipped, pages) => {
        const source = new PatternSource(seed);
        const words = dirty(8 * 1024);
        source.fill(page, words, skipped * 1024, pages * 1024);
        const apart = dirty(8 * 1024);
        for (let k = 0; k < pages; k++) {
          source.fill(page + k, apart, (skipped + k) * 1024, 1024);
        }
        return Buffer.from(words.buffer).equals(Buffer.from(apart.buffer));
      },
    ),
  );
  const words = dirty(3 * 1024);
  new PatternSource(1).fill(9, words, 1024, 1024);
  t.strictSame(words.slice(0, 1024), dirty(1024), 'the page before is untouched');
  t.strictSame(words.slice(2048), dirty(1024), 'the page behind is untouched');
});

t.test('a window that starts inside a buffer is filled from its own start', async (t) => {
  const buffer = new ArrayBuffer(4 * 4096);
  const window = new Int32Array(buffer, 4096, 2048);
  new PatternSource(3).fill(100, window, 1024, 1024);
  const all = new Int32Array(buffer);
  t.equal(all[2048], referenceWord(100, 3, 0));
  t.ok(all.subarray(0, 2048).every((word) => word === 0));
  t.ok(all.subarray(3072).every((word) => word === 0));
});

t.test('compare accepts what fill wrote', async (t) => {
  fc.assert(
    fc.property(seeds, pageNumbers, (seed, page) => {
      const source = new PatternSource(seed);
      const words = dirty(2048);
      source.fill(page, words, 1024, 1024);
      return source.compare(page, words, 1024) === -1;
    }),
  );
  t.pass();
});

t.test('compare finds a single flipped bit in any word', async (t) => {
  const source = new PatternSource(5);
  const words = new Int32Array(1024);
  source.fill(77, words, 0, 1024);
  const found: number[] = [];
  for (let index = 0; index < 1024; index++) {
    words[index]! ^= 1 << (index % 32);
    found.push(source.compare(77, words, 0));
    words[index]! ^= 1 << (index % 32);
  }
  t.strictSame(
    found,
    Array.from({ length: 1024 }, (_, index) => index),
  );
});

t.test('compare tells the first of several wrong words', async (t) => {
  const source = new PatternSource(5);
  const words = new Int32Array(1024);
  source.fill(77, words, 0, 1024);
  words[1000] = ~words[1000]!;
  words[17] = ~words[17]!;
  t.equal(source.compare(77, words, 0), 17);
});

t.test('a page in the wrong place, of another seed, or of zeroes is wrong at once', async (t) => {
  const words = new Int32Array(1024);
  const source = new PatternSource(5);
  source.fill(77, words, 0, 1024);
  t.equal(source.compare(78, words, 0), 0);
  t.equal(new PatternSource(6).compare(77, words, 0), 0);
  t.equal(source.compare(77, new Int32Array(1024), 0), 0);
});

t.test('no page is zero, and no two neighbours are equal', async (t) => {
  fc.assert(
    fc.property(seeds, pageNumbers, (seed, page) => {
      const words = new Int32Array(2048);
      new PatternSource(seed).fill(page, words, 0, 2048);
      const zeroes = words.filter((word) => word === 0).length;
      return zeroes <= 2 && words[0] !== words[1024];
    }),
  );
  t.pass();
});
