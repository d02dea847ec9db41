import type { PageSource } from './page-source.js';
import { WORDS_PER_PAGE } from './page-source.js';

/**
 * Pages one after the other, from page `first` on; their contents begin at page `at` of the data, or
 * they are zero ({@link ZEROES}).
 */
export interface LoadedRun {
  readonly first: number;
  readonly pages: number;
  readonly at: number;
}

/** Contents that need no data: a kernel's .bss can be as large as all the rest of it. */
const ZEROES = -1;
/** Not a page that somebody has put there. */
const NOT_LOADED = -2;

/** What is put into memory: bytes at a GPA; what `data` does not cover of them is zero. */
export interface LoadedPiece {
  readonly address: number;
  readonly data: Uint8Array;
  readonly bytes: number;
}

/** Pages that somebody has put into memory, as plain data, which threads share. */
export interface LoadedPages {
  /** In the order of their addresses. */
  readonly runs: readonly LoadedRun[];
  readonly data: SharedArrayBuffer;
}

/**
 * Another source, but for pages that somebody has put there: an image, whose pages are brought in
 * when the guest touches them, as all others are.
 */
export class LoadedSource implements PageSource {
  private readonly words: Int32Array;
  private readonly runs: readonly LoadedRun[];

  constructor(
    private readonly of: PageSource,
    { runs, data }: LoadedPages,
  ) {
    this.words = new Int32Array(data);
    this.runs = runs;
  }

  fill(pageNumber: number, words: Int32Array, first: number, count: number): boolean {
    const end = first + count;
    let page = pageNumber;
    for (let at = first; at < end; at += WORDS_PER_PAGE) {
      const from = this.find(page);
      if (from >= 0) {
        copyPage(this.words, from, words, at);
      } else if (from === ZEROES) {
        words.fill(0, at, at + WORDS_PER_PAGE);
      } else if (!this.of.fill(page, words, at, WORDS_PER_PAGE)) {
        return false;
      }
      page++;
    }
    return true;
  }

  compare(pageNumber: number, words: Int32Array, first: number): number {
    const from = this.find(pageNumber);
    if (from === NOT_LOADED) {
      return this.of.compare(pageNumber, words, first);
    }
    for (let word = 0; word < WORDS_PER_PAGE; word++) {
      const wanted = from === ZEROES ? 0 : this.words[from + word]!;
      if (words[first + word] !== wanted) {
        return word;
      }
    }
    return -1;
  }

  /** Where a page's words begin, or one of the constants. There are few runs: kernel, initrd, tables. */
  private find(page: number): number {
    for (let index = 0; index < this.runs.length; index++) {
      const run = this.runs[index]!;
      if (page < run.first) {
        return NOT_LOADED;
      }
      if (page < run.first + run.pages) {
        return run.at === ZEROES ? ZEROES : (run.at + page - run.first) * WORDS_PER_PAGE;
      }
    }
    return NOT_LOADED;
  }
}

/** Without a view of a part, which would be an object for every page. Eight words a turn. */
function copyPage(from: Int32Array, start: number, to: Int32Array, first: number): void {
  let source = start;
  const end = (first + 1024) | 0;
  for (let index = first; index < end; index = (index + 8) | 0) {
    to[index] = from[source]!;
    to[index + 1] = from[source + 1]!;
    to[index + 2] = from[source + 2]!;
    to[index + 3] = from[source + 3]!;
    to[index + 4] = from[source + 4]!;
    to[index + 5] = from[source + 5]!;
    to[index + 6] = from[source + 6]!;
    to[index + 7] = from[source + 7]!;
    source = (source + 8) | 0;
  }
}

/** Lays pieces of memory out in whole pages; what they leave of a page is the other source's. */
export function loadPages(of: PageSource, pieces: readonly LoadedPiece[]): LoadedPages {
  const zero = isZero(pieces);
  const runs: { first: number; pages: number; at: number }[] = [];
  const places = new Map<number, number>();
  for (const page of [...zero.keys()].sort((a, b) => a - b)) {
    const at = zero.get(page)! ? ZEROES : places.size;
    if (at !== ZEROES) {
      places.set(page, at);
    }
    const last = runs.at(-1);
    const follows = last !== undefined && last.first + last.pages === page;
    if (follows && (last.at === ZEROES) === (at === ZEROES)) {
      last.pages++;
    } else {
      runs.push({ first: page, pages: 1, at });
    }
  }
  const data = new SharedArrayBuffer(places.size * 4096);
  const words = new Int32Array(data);
  const bytes = new Uint8Array(data);
  const begun = new Set<number>();
  for (const piece of pieces) {
    for (let done = 0; done < piece.bytes; ) {
      const address = piece.address + done;
      const page = Math.floor(address / 4096);
      const part = Math.min(piece.bytes - done, 4096 - (address % 4096));
      const place = places.get(page);
      if (place !== undefined) {
        if (!begun.has(page) && part < 4096) {
          of.fill(page, words, place * WORDS_PER_PAGE, WORDS_PER_PAGE);
        }
        begun.add(page);
        const to = place * 4096 + (address % 4096);
        const given = piece.data.subarray(done, Math.min(piece.data.length, done + part));
        bytes.fill(0, to + given.length, to + part);
        bytes.set(given, to);
      }
      done += part;
    }
  }
  return { runs, data };
}

/** Of each page that a piece lies in: whether all there ever is to it is zeroes. */
function isZero(pieces: readonly LoadedPiece[]): ReadonlyMap<number, boolean> {
  const zero = new Map<number, boolean>();
  for (const { address, data, bytes } of pieces) {
    for (let page = Math.floor(address / 4096); page * 4096 < address + bytes; page++) {
      const start = page * 4096;
      const isWhole = start >= address && start + 4096 <= address + bytes;
      const isBehindData = start >= address + data.length;
      zero.set(page, isWhole && isBehindData && (zero.get(page) ?? true));
    }
  }
  return zero;
}

/** The numbers of all pages that are loaded. */
export function pagesOf({ runs }: LoadedPages): Set<number> {
  const pages = new Set<number>();
  for (const { first, pages: count } of runs) {
    for (let page = first; page < first + count; page++) {
      pages.add(page);
    }
  }
  return pages;
}
