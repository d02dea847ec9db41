/** What guest memory must be: which units are mapped, and every byte of them. */
import { strict as assert } from 'node:assert';
import { MAPPED, MISSING, type PageStates } from '../../src/memory/page-states.js';
import { type GuestView, SAMPLE_BYTES } from './guest-view.js';
import { PAGE, SOURCE } from './trapped-memory.js';

/** Missing pages that are tried out after every step. */
const TRIED = 8;
/** After every step some bytes are read of one mapped page in so many. */
const STRIDE = 4;

export class MemoryModel {
  readonly units: number;
  readonly mapped: boolean[];
  /** Expected contents; what a missing unit has here means nothing. */
  readonly contents: Uint8Array;

  constructor(
    readonly bytes: number,
    readonly unitBytes: number,
  ) {
    this.units = bytes / unitBytes;
    this.mapped = Array(this.units).fill(false);
    this.contents = new Uint8Array(bytes);
  }

  /** A missing unit comes in with what its source has. */
  bringIn(unit: number): void {
    const words = new Int32Array(this.contents.buffer, unit * this.unitBytes, this.unitBytes / 4);
    SOURCE.fill((unit * this.unitBytes) / PAGE, words, 0, words.length);
    this.mapped[unit] = true;
  }

  unitOf(offset: number): number {
    return Math.floor(offset / this.unitBytes);
  }

  allMapped(start: number, end: number): boolean {
    return this.mapped.slice(this.unitOf(start), this.unitOf(end - 1) + 1).every(Boolean);
  }

  /** The units that fault-around brings in with a missing unit: those behind it first. */
  run(unit: number, neighbours: number): { first: number; end: number } {
    let first = unit;
    let end = unit + 1;
    while (end - first <= neighbours && end < this.units && !this.mapped[end]) {
      end++;
    }
    while (end - first <= neighbours && first > 0 && !this.mapped[first - 1]) {
      first--;
    }
    return { first, end };
  }

  /**
   * What must be true at any time, of every unit: a mapped one is there and reads as expected (some
   * bytes of each page in turn; all of them between `start` and `end`), a missing one is not there, and has
   * its trap marker.
   *
   * @param marked whether nothing sleeps, so that missing pages may be touched
   * @param turn which bytes and which missing pages to look at
   */
  check(
    view: GuestView,
    states: PageStates,
    marked: boolean,
    turn: number,
    start: number,
    end: number,
  ): void {
    const pagesPerUnit = this.unitBytes / PAGE;
    view.look();
    const there: number[] = [];
    const missing: number[] = [];
    for (let unit = 0; unit < this.units; unit++) {
      const mapped = this.mapped[unit]!;
      assert.equal(states.stateOf(unit), mapped ? MAPPED : MISSING, `state of unit ${unit}`);
      for (let page = unit * pagesPerUnit; page < (unit + 1) * pagesPerUnit; page++) {
        assert.equal(view.isPresent(page), mapped, `page ${page} (unit ${unit}) is mapped`);
        if (!mapped) {
          missing.push(page);
        } else if ((page + turn) % STRIDE === 0) {
          there.push(page);
        }
      }
    }
    const unmarked = marked ? 0 : this.mapped.filter((mapped) => !mapped).length * pagesPerUnit;
    assert.equal(view.absentPages(), unmarked, 'pages without a marker');
    const offset = (turn * SAMPLE_BYTES) % PAGE;
    const samples = view.sample(there, offset);
    assert.notEqual(samples, null, 'mapped pages can be read');
    there.forEach((page, index) => {
      const at = page * PAGE + offset;
      this.compare(samples!.subarray(index * SAMPLE_BYTES, (index + 1) * SAMPLE_BYTES), at);
    });
    this.readAll(view, Math.floor(start / PAGE), Math.ceil(end / PAGE));
    for (let index = 0; marked && index < Math.min(TRIED, missing.length); index++) {
      const page = missing[(turn * TRIED + index * 37) % missing.length]!;
      assert.ok(view.fails(page), `missing page ${page} can be read`);
    }
  }

  /** Compares every byte of the mapped pages from `first` to `last`. */
  private readAll(view: GuestView, first: number, last: number): void {
    for (let page = first; page < last; ) {
      let end = page;
      while (end < last && view.isPresent(end)) {
        end++;
      }
      if (end > page) {
        const read = view.read(page * PAGE, (end - page) * PAGE);
        assert.notEqual(typeof read, 'number', `pages ${page} to ${end} cannot be read`);
        this.compare(read as Uint8Array, page * PAGE);
      }
      page = end + 1;
    }
  }

  private compare(found: Uint8Array, offset: number): void {
    const expected = this.contents.subarray(offset, offset + found.length);
    if (Buffer.compare(found, expected) !== 0) {
      const wrong = found.findIndex((byte, index) => byte !== expected[index]);
      const unit = this.unitOf(offset);
      assert.fail(
        `byte ${offset + wrong} (page ${Math.floor(offset / PAGE)}, unit ${unit}) is ${found[wrong]}, not ${expected[wrong]}`,
      );
    }
  }
}
