import { type PageSource, WORDS_PER_PAGE } from './page-source.js';

/** The constants of guest-images/abi.h; a test compares them. */
export const PATTERN_STEP = 0x9e3779b9 | 0;
export const PATTERN_MIX_A = 0x85ebca6b | 0;
export const PATTERN_MIX_B = 0xc2b2ae35 | 0;

/**
 * The first word of page `pageNumber` (guest physical address / 4096) under `seed`: murmur3's
 * finalizer, which guests compute as cheaply as we do.
 */
export function patternBase(pageNumber: number, seed: number): number {
  let hash = (Math.imul(seed, PATTERN_STEP) + pageNumber) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), PATTERN_MIX_A);
  hash = Math.imul(hash ^ (hash >>> 13), PATTERN_MIX_B);
  return hash ^ (hash >>> 16);
}

/**
 * Every word of memory is different in a way a guest can check on its own: word i of page n is
 * `patternBase(n, seed) + i * PATTERN_STEP` modulo 2^32. A page in the wrong place, a page of
 * another seed and a zero page are all noticed at their first word (but for one in 2^32).
 */
export class PatternSource implements PageSource {
  readonly seed: number;

  constructor(seed: number) {
    this.seed = seed | 0;
  }

  fill(pageNumber: number, words: Int32Array, first: number, count: number): boolean {
    let number = pageNumber;
    for (let page = first; page < first + count; page += WORDS_PER_PAGE) {
      let word = patternBase(number++, this.seed);
      for (let index = page; index < page + WORDS_PER_PAGE; index++) {
        words[index] = word;
        word = (word + PATTERN_STEP) | 0;
      }
    }
    return true;
  }

  compare(pageNumber: number, words: Int32Array, first: number): number {
    let word = patternBase(pageNumber, this.seed);
    for (let index = 0; index < WORDS_PER_PAGE; index++) {
      if (words[first + index] !== word) {
        return index;
      }
      word = (word + PATTERN_STEP) | 0;
    }
    return -1;
  }
}
