import { type PageSource, WORDS_PER_PAGE } from './page-source.js';

/** The constants of guest-images/abi.h; a test compares them. */
export const PATTERN_STEP = 0x9e3779b9 | 0;
export const PATTERN_MIX_A = 0x85ebca6b | 0;
export const PATTERN_MIX_B = 0xc2b2ae35 | 0;

// Copies that are not exported: the engine folds these into the code, and reads an exported one
// from its cell at every use (a fill took 1.7 µs with those, 0.5 µs with these).
const STEP = PATTERN_STEP;
const STEPS_2 = (2 * STEP) | 0;
const STEPS_3 = (3 * STEP) | 0;
const STEPS_4 = (4 * STEP) | 0;
const STEPS_5 = (5 * STEP) | 0;
const STEPS_6 = (6 * STEP) | 0;
const STEPS_7 = (7 * STEP) | 0;
const STEPS_8 = (8 * STEP) | 0;

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
    const pages = (count / WORDS_PER_PAGE) | 0;
    for (let page = 0; page < pages; page++) {
      fillPage(words, first + page * WORDS_PER_PAGE, patternBase(pageNumber + page, this.seed));
    }
    return true;
  }

  compare(pageNumber: number, words: Int32Array, first: number): number {
    let word = patternBase(pageNumber, this.seed);
    for (let index = 0; index < WORDS_PER_PAGE; index++) {
      if (words[first + index] !== word) {
        return index;
      }
      word = (word + STEP) | 0;
    }
    return -1;
  }
}

/** Eight words a turn: a turn of a loop costs this engine more than the stores in it. */
function fillPage(words: Int32Array, first: number, base: number): void {
  const end = (first + 1024) | 0;
  let word = base;
  for (let index = first; index < end; index = (index + 8) | 0) {
    words[index] = word;
    words[index + 1] = (word + STEP) | 0;
    words[index + 2] = (word + STEPS_2) | 0;
    words[index + 3] = (word + STEPS_3) | 0;
    words[index + 4] = (word + STEPS_4) | 0;
    words[index + 5] = (word + STEPS_5) | 0;
    words[index + 6] = (word + STEPS_6) | 0;
    words[index + 7] = (word + STEPS_7) | 0;
    word = (word + STEPS_8) | 0;
  }
}
