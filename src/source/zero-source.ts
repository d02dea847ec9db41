import { type PageSource, WORDS_PER_PAGE } from './page-source.js';

/** Zeroes, written out: a page is never assumed to be zero already. */
export class ZeroSource implements PageSource {
  fill(_pageNumber: number, words: Int32Array, first: number, count: number): boolean {
    words.fill(0, first, first + count);
    return true;
  }

  compare(_pageNumber: number, words: Int32Array, first: number): number {
    for (let index = 0; index < WORDS_PER_PAGE; index++) {
      if (words[first + index] !== 0) {
        return index;
      }
    }
    return -1;
  }
}
