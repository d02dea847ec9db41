import { threadId } from 'node:worker_threads';
import { DefectError } from '../ffi/errors.js';
import { type PageSource, WORDS_PER_PAGE } from './page-source.js';
import type { SourceControl } from './source-control.js';

/** How a source misbehaves. A page is meant by any guest physical address in it. */
export type SourceFault =
  /** Requests for a page fail, so many times in all; null: for good. */
  | { readonly kind: 'page'; readonly address: number; readonly times: number | null }
  /** Every so many requests one fails. */
  | { readonly kind: 'every'; readonly requests: number; readonly times: number | null }
  /** Every request takes so long, unless the machine is being stopped. */
  | { readonly kind: 'delay'; readonly milliseconds: number }
  /** A request for a page throws: what a programming error in a source would do. */
  | { readonly kind: 'throw'; readonly address: number }
  /** A request for a page waits at a {@link Gate}. */
  | { readonly kind: 'hold'; readonly address: number; readonly gate: SharedArrayBuffer };

/** What a request that fails leaves behind, in place of contents: a guest must never see it. */
export const GARBAGE = 0x5bad5bad;

// A gate's shared memory.
const ARRIVED = 0;
const OPEN = 1;
const THREAD = 2;
/** Whoever waits looks this often whether the machine is being stopped. */
const SLICE_MILLISECONDS = 20;

/** Where a thread can be held in the middle of a request, with its claim on the page. */
export class Gate {
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;

  constructor(buffer = new SharedArrayBuffer(12)) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer);
  }

  /** The worker_threads id of the thread that came last, or null. */
  get heldThread(): number | null {
    return Atomics.load(this.words, ARRIVED) === 0 ? null : Atomics.load(this.words, THREAD);
  }

  open(): void {
    Atomics.store(this.words, OPEN, 1);
    Atomics.notify(this.words, OPEN);
  }

  /** Waits until it is open, or the machine is being stopped. */
  pass(control: SourceControl): void {
    Atomics.store(this.words, THREAD, threadId);
    Atomics.add(this.words, ARRIVED, 1);
    while (Atomics.load(this.words, OPEN) === 0 && !control.closed) {
      Atomics.wait(this.words, OPEN, 0, SLICE_MILLISECONDS);
    }
  }
}

/** Another source that misbehaves as it is told, for tests and for those who handle its errors. */
export class FaultySource implements PageSource {
  /** Of each fault: how many requests there were, and how many of them have failed. */
  private readonly counts: Int32Array;
  private readonly gates: readonly (Gate | null)[];

  /** @param counts from {@link FaultySource.allocate}, one for all threads */
  constructor(
    private readonly of: PageSource,
    private readonly faults: readonly SourceFault[],
    counts: SharedArrayBuffer,
    private readonly control: SourceControl,
  ) {
    this.counts = new Int32Array(counts);
    this.gates = faults.map((fault) => (fault.kind === 'hold' ? new Gate(fault.gate) : null));
  }

  static allocate(faults: readonly SourceFault[]): SharedArrayBuffer {
    return new SharedArrayBuffer(faults.length * 8);
  }

  fill(pageNumber: number, words: Int32Array, first: number, count: number): boolean {
    for (let index = 0; index < this.faults.length; index++) {
      if (this.fails(index, pageNumber, count / WORDS_PER_PAGE)) {
        words.fill(GARBAGE, first, first + count);
        return false;
      }
    }
    return this.of.fill(pageNumber, words, first, count);
  }

  compare(pageNumber: number, words: Int32Array, first: number): number {
    return this.of.compare(pageNumber, words, first);
  }

  private fails(index: number, pageNumber: number, pages: number): boolean {
    const fault = this.faults[index]!;
    if (fault.kind === 'delay') {
      this.control.sleep(fault.milliseconds);
      return false;
    }
    if (fault.kind === 'every') {
      const request = Atomics.add(this.counts, 2 * index, 1) + 1;
      return request % fault.requests === 0 && this.mayFail(index, fault.times);
    }
    const page = Math.floor(fault.address / 4096);
    if (page < pageNumber || page >= pageNumber + pages) {
      return false;
    }
    switch (fault.kind) {
      case 'page':
        return this.mayFail(index, fault.times);
      case 'throw':
        throw new DefectError(
          `the source threw, as it was told to, at GPA 0x${(page * 4096).toString(16)}`,
          '',
        );
      case 'hold':
        this.gates[index]!.pass(this.control);
        return false;
    }
  }

  /** Whether there are failures left of a fault; takes one. */
  private mayFail(index: number, times: number | null): boolean {
    return times === null || Atomics.add(this.counts, 2 * index + 1, 1) < times;
  }
}

/** As written after `--fail-source`. */
export function nameOfFault(fault: SourceFault): string {
  const times = 'times' in fault && fault.times !== null ? `:${fault.times}` : '';
  switch (fault.kind) {
    case 'every':
      return `every=${fault.requests}${times}`;
    case 'delay':
      return `delay=${fault.milliseconds}`;
    default:
      return `${fault.kind}=0x${fault.address.toString(16)}${times}`;
  }
}
