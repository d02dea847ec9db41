import type { PageSource } from './page-source.js';
import { WORDS_PER_PAGE } from './page-source.js';

/** Pages one after the other, from page `first` on; their contents begin at page `at` of the data. */
export interface LoadedRun {
  readonly first: number;
  readonly pages: number;
  readonly at: number;
}

/**
 * Another source, but for pages that somebody has put there: an image, whose pages are brought in
 * when the guest touches them, as all others are.
 */
export class LoadedSource implements PageSource {
  private readonly words: Int32Array;

  /** @param data the pages' contents, shared by all threads */
  constructor(
    private readonly of: PageSource,
    private readonly runs: readonly LoadedRun[],
    data: SharedArrayBuffer,
  ) {
    this.words = new Int32Array(data);
  }

  fill(pageNumber: number, words: Int32Array, first: number, count: number): boolean {
    const end = first + count;
    let page = pageNumber;
    for (let at = first; at < end; at += WORDS_PER_PAGE) {
      const from = this.find(page);
      if (from >= 0) {
        for (let word = 0; word < WORDS_PER_PAGE; word++) {
          words[at + word] = this.words[from + word]!;
        }
      } else if (!this.of.fill(page, words, at, WORDS_PER_PAGE)) {
        return false;
      }
      page++;
    }
    return true;
  }

  compare(pageNumber: number, words: Int32Array, first: number): number {
    const from = this.find(pageNumber);
    if (from < 0) {
      return this.of.compare(pageNumber, words, first);
    }
    for (let word = 0; word < WORDS_PER_PAGE; word++) {
      if (words[first + word] !== this.words[from + word]) {
        return word;
      }
    }
    return -1;
  }

  /** Where a page's words begin, or -1. There are few runs: kernel, initrd, tables. */
  private find(page: number): number {
    for (let index = 0; index < this.runs.length; index++) {
      const { first, pages, at } = this.runs[index]!;
      if (page >= first && page < first + pages) {
        return (at + page - first) * WORDS_PER_PAGE;
      }
    }
    return -1;
  }
}

/**
 * Lays pieces of memory out in whole pages; what they leave of a page is the other source's.
 *
 * @param pieces bytes at a GPA; what `data` does not cover of them is zero
 */
export function loadPages(
  of: PageSource,
  pieces: readonly {
    readonly address: number;
    readonly data: Uint8Array;
    readonly bytes: number;
  }[],
): { readonly runs: readonly LoadedRun[]; readonly data: SharedArrayBuffer } {
  const numbers = new Set<number>();
  for (const { address, bytes } of pieces) {
    for (let page = Math.floor(address / 4096); page * 4096 < address + bytes; page++) {
      numbers.add(page);
    }
  }
  const sorted = [...numbers].sort((a, b) => a - b);
  const data = new SharedArrayBuffer(sorted.length * 4096);
  const words = new Int32Array(data);
  const places = new Map<number, number>();
  const runs: { first: number; pages: number; at: number }[] = [];
  sorted.forEach((page, at) => {
    of.fill(page, words, at * WORDS_PER_PAGE, WORDS_PER_PAGE);
    places.set(page, at);
    const last = runs.at(-1);
    if (last !== undefined && last.first + last.pages === page) {
      last.pages++;
    } else {
      runs.push({ first: page, pages: 1, at });
    }
  });
  const bytes = new Uint8Array(data);
  for (const piece of pieces) {
    for (let done = 0; done < piece.bytes; ) {
      const address = piece.address + done;
      const part = Math.min(piece.bytes - done, 4096 - (address % 4096));
      const to = places.get(Math.floor(address / 4096))! * 4096 + (address % 4096);
      const given = piece.data.subarray(done, Math.min(piece.data.length, done + part));
      bytes.fill(0, to, to + part);
      bytes.set(given, to);
      done += part;
    }
  }
  return { runs, data };
}
