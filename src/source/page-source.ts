/**
 * What a missing page contains. A source is made anew in every thread from plain data, so it holds
 * no state that threads would have to share.
 */
export interface PageSource {
  /**
   * Writes the contents of guest physical memory from page `pageNumber` on into `words`. On the hot path: it
   * allocates nothing.
   *
   * @param pageNumber guest physical address divided by 4096
   * @param words a window of the alias mapping
   * @param first index of the first word to write, a multiple of 1024
   * @param count words to write, a multiple of 1024
   * @returns false if the contents cannot be had: the page is a memory error
   */
  fill(pageNumber: number, words: Int32Array, first: number, count: number): boolean;

  /**
   * The index within the page of the first word that differs from what `fill` would write, or -1.
   * Parameters as for `fill`, for one page of 1024 words.
   */
  compare(pageNumber: number, words: Int32Array, first: number): number;
}

export const WORDS_PER_PAGE = 1024;
