/** Guest memory and its model, to which the operations of memory-operations.ts are done alike. */
import { strict as assert } from 'node:assert';
import { createAround } from '../../src/fault/around.js';
import { INSTALLED, MEMORY_ERROR, POPULATED, PRESENT, REMAPPED } from '../../src/fault/outcome.js';
import type { Resolver } from '../../src/fault/resolver.js';
import { UsageError } from '../../src/ffi/errors.js';
import { madvise } from '../../src/ffi/libc.js';
import type { Backing } from '../../src/memory/backing.js';
import { MemoryChanges } from '../../src/memory/changes.js';
import { collapseBlock } from '../../src/memory/collapse.js';
import { createDiscard, type Discard } from '../../src/memory/discard.js';
import { type GuestAccess, openAccess } from '../../src/memory/guest-access.js';
import { explainAbsence } from '../../src/memory/repair.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { MADV_DONTNEED } from '../../src/uapi/mman.js';
import { GuestView } from './guest-view.js';
import { MemoryModel } from './memory-model.js';
import type { Operation, Setup } from './memory-operations.js';
import { PAGE, TrappedMemory } from './trapped-memory.js';

/** Neighbours that come in with a unit that is brought in ahead, or to be zeroed in part. */
const AHEAD = 15;

const NOISE = Uint8Array.from(
  { length: 5 * PAGE },
  (_, index) => Math.imul(index, 0x9e3779b1) >>> 24,
);

/** What all sequences of one backing have done, so that none of it is left undone unnoticed. */
export type Tally = Record<string, number>;

export class MemoryUnderTest implements Disposable {
  private readonly backing: Backing;
  private readonly setup: Setup;
  private readonly tally: Tally;
  private readonly trapped: TrappedMemory;
  private readonly model: MemoryModel;
  private readonly view: GuestView;
  private readonly marked: boolean;
  private readonly access: GuestAccess;
  private readonly fault: Resolver;
  private readonly ahead: Resolver;
  private readonly discard: Discard;
  private turn = 0;

  constructor(backing: Backing, bytes: number, setup: Setup, tally: Tally) {
    this.backing = backing;
    this.setup = setup;
    this.tally = tally;
    const { delivery, unitBytes, around } = setup;
    this.marked = delivery === 'exit';
    this.trapped = new TrappedMemory(delivery, bytes / PAGE, unitBytes, backing);
    const { memory, trap } = this.trapped;
    this.model = new MemoryModel(bytes, unitBytes);
    this.view = new GuestView(memory.layout.guestAddress, bytes / PAGE);
    this.access = openAccess(memory.layout);
    const sleepers = !this.marked;
    const caller = this.marked ? 'vcpu' : 'handler';
    this.fault = this.trapped.resolver({ around, sleepers, caller });
    this.ahead = this.trapped.resolver({ around: AHEAD, sleepers, caller: 'prefetch' });
    this.discard = createDiscard({
      memory: memory.layout,
      trap,
      stopping: () => false,
      bringIn: (unit) => this.ahead.resolve(unit) !== MEMORY_ERROR,
    });
  }

  /** Does one thing to memory and to the model, and compares them. */
  step(operation: Operation): void {
    const [start, end] = this.perform(operation);
    this.turn++;
    this.tally.steps = (this.tally.steps ?? 0) + 1;
    this.check(start, end);
  }

  /** Compares every byte. */
  checkAll(): void {
    this.check(0, this.model.bytes);
  }

  private check(start: number, end: number): void {
    const { states } = this.trapped.memory;
    this.model.check(this.view, states, this.marked, this.turn, start, end);
  }

  private count(what: string): void {
    this.tally[what] = (this.tally[what] ?? 0) + 1;
  }

  /** Returns the range that it was about. */
  private perform(operation: Operation): readonly [number, number] {
    const start = (operation.page * PAGE) % this.model.bytes;
    const endOf = (bytes: number): number => Math.min(this.model.bytes, start + bytes);
    switch (operation.do) {
      case 'fault':
        return this.touch(this.model.unitOf(start));
      case 'prefetch':
        return this.prefetch(start, endOf(operation.pages * PAGE));
      case 'discard':
        return this.throwAway(operation, start, endOf(operation.pages * PAGE));
      case 'collapse':
        return this.collapse(Math.floor(start / HUGE_PAGE_BYTES));
      case 'forget':
        return this.forget(start, endOf(operation.pages * PAGE));
      case 'read':
      case 'write':
      case 'store': {
        const from = start + operation.span.skew;
        const to = Math.min(this.model.bytes, from + operation.span.bytes);
        return operation.do === 'store'
          ? this.store(from, to)
          : this.throughAccess(operation.do, from, to);
      }
    }
  }

  private touch(unit: number): readonly [number, number] {
    const { model } = this;
    const wasMapped = model.mapped[unit];
    const outcome = this.fault.resolve(unit);
    if (wasMapped) {
      assert.ok(outcome === PRESENT || (this.marked && outcome === POPULATED), `${outcome}`);
      return this.rangeOf(unit, unit + 1);
    }
    assert.equal(outcome, INSTALLED);
    let { first, end } = model.run(unit, this.setup.around === 'adaptive' ? 0 : this.setup.around);
    if (this.setup.around === 'adaptive') {
      ({ first, end } = this.foundRun(unit, createAround('adaptive', this.setup.unitBytes).most));
    }
    this.count(end - first > 1 ? 'faults with neighbours' : 'faults');
    return this.broughtIn(first, end);
  }

  /** The run that came in with a unit, as the states have it: how long it is, the policy knows. */
  private foundRun(unit: number, most: number): { first: number; end: number } {
    const { model } = this;
    const { words } = this.trapped.memory.states;
    const cameIn = (at: number): boolean => !model.mapped[at] && words[at] !== 0;
    const longest = model.run(unit, most);
    let { first, end } = { first: unit, end: unit + 1 };
    while (end < longest.end && cameIn(end)) {
      end++;
    }
    while (first > longest.first && cameIn(first - 1)) {
      first--;
    }
    return { first, end };
  }

  private prefetch(start: number, end: number): readonly [number, number] {
    const { model } = this;
    for (let unit = model.unitOf(start); unit <= model.unitOf(end - 1); unit++) {
      if (!model.mapped[unit]) {
        this.bringInAhead(unit);
      }
    }
    this.count('prefetches');
    return [start, end];
  }

  private bringInAhead(unit: number): void {
    assert.equal(this.ahead.resolve(unit), INSTALLED);
    this.expectAhead(unit);
  }

  private expectAhead(unit: number): void {
    const { first, end } = this.model.run(unit, AHEAD);
    this.broughtIn(first, end);
  }

  private throwAway(
    { skew, align, partial }: Operation & { do: 'discard' },
    from: number,
    to: number,
  ): readonly [number, number] {
    const { model } = this;
    const { unitBytes } = model;
    let start = from;
    let end = to;
    if (align) {
      start = Math.floor(from / unitBytes) * unitBytes;
      end = Math.ceil(to / unitBytes) * unitBytes;
    } else {
      start = Math.min(to, from + skew[0]);
      end = Math.max(start, to - skew[1]);
    }
    const discard = () => this.discard(start, end - start, { partial });
    const first = Math.ceil(start / unitBytes);
    const last = Math.floor(end / unitBytes);
    if (end > start && (start % unitBytes !== 0 || end % unitBytes !== 0)) {
      if (partial === 'refuse') {
        assert.throws(discard, UsageError);
        this.count('discards refused');
        return [start, end];
      }
      this.zero(start, Math.min(end, first * unitBytes));
      this.zero(Math.max(start, last * unitBytes), end);
      this.count('parts zeroed');
    }
    const whole = model.mapped.slice(first, Math.max(first, last)).filter(Boolean).length;
    const zeroedBytes = end - start - Math.max(0, last - first) * unitBytes;
    assert.deepEqual(discard(), { units: whole, zeroedBytes });
    model.mapped.fill(false, first, Math.max(first, last));
    if (whole > 0) {
      this.count('discards');
    }
    return [start, end];
  }

  /** In the model: a part of a unit, which comes in for that, reads as zeroes. */
  private zero(start: number, end: number): void {
    const { model } = this;
    const unit = model.unitOf(start);
    if (end > start && (start % model.unitBytes !== 0 || end % model.unitBytes !== 0)) {
      if (!model.mapped[unit]) {
        this.expectAhead(unit);
      }
      model.contents.fill(0, start, end);
    }
  }

  private collapse(block: number): readonly [number, number] {
    const { model } = this;
    const start = block * HUGE_PAGE_BYTES;
    const end = start + HUGE_PAGE_BYTES;
    if (this.backing.collapsible) {
      const { layout } = this.trapped.memory;
      const { outcome } = collapseBlock(layout, this.trapped.trap, block, () => false);
      const complete = end <= model.bytes && model.allMapped(start, end);
      assert.equal(outcome !== 'incomplete', complete, `collapse of block ${block}: ${outcome}`);
      this.count(`collapses ${outcome}`);
    }
    return [start, Math.min(model.bytes, end)];
  }

  private throughAccess(how: 'read' | 'write', start: number, end: number): [number, number] {
    const { model } = this;
    if (model.allMapped(start, end)) {
      if (how === 'write') {
        const data = this.noise(end - start);
        this.access.write(start, data);
        model.contents.set(data, start);
      } else {
        const found = Buffer.from(this.access.read(start, end - start));
        assert.ok(found.equals(model.contents.subarray(start, end)), 'read through the access');
        const page = Math.floor(start / PAGE);
        const { words, first } = this.access.view(page);
        const wanted = new Int32Array(model.contents.buffer, page * PAGE, 1024);
        assert.deepEqual(words.slice(first, first + 1024), wanted);
      }
      this.count(`${how}s`);
    }
    return [start, end];
  }

  private store(start: number, end: number): readonly [number, number] {
    const { model } = this;
    const data = this.noise(end - start);
    if (model.allMapped(start, end)) {
      assert.equal(this.view.write(start, data), 0);
      model.contents.set(data, start);
      this.count('stores');
    } else if (this.marked) {
      // What lies before the first missing page is stored, as by two instructions.
      assert.notEqual(this.view.write(start, data), 0, 'a store to missing memory');
      for (let at = start; at < end && model.mapped[model.unitOf(at)]; at++) {
        model.contents[at] = data[at - start]!;
      }
      this.count('stores that fail');
    }
    return [start, end];
  }

  private forget(from: number, to: number): readonly [number, number] {
    const { model } = this;
    const { layout } = this.trapped.memory;
    const start = Math.floor(from / model.unitBytes) * model.unitBytes;
    const end = Math.ceil(to / model.unitBytes) * model.unitBytes;
    if (this.backing.sharing === 'shared') {
      const { sequence } = new MemoryChanges(layout.changes);
      assert.equal(madvise(layout.guestAddress + start, end - start, MADV_DONTNEED), 0);
      if (this.marked) {
        assert.ok(this.view.fails(start / PAGE), 'what was dropped fails, whatever it was');
        const stopping = (): boolean => false;
        assert.equal(explainAbsence(layout, this.trapped.trap, sequence, stopping), 'restored');
      } else {
        this.touchAgain();
      }
      this.count('entries dropped');
    }
    return [start, end];
  }

  /** Mapped units whose entries are gone fault: of a huge page all, if any of it was dropped. */
  private touchAgain(): void {
    const { model } = this;
    const pagesPerUnit = model.unitBytes / PAGE;
    this.view.look();
    const gone = new Set<number>();
    for (let page = 0; page < model.bytes / PAGE; page++) {
      const unit = Math.floor(page / pagesPerUnit);
      if (model.mapped[unit] && !this.view.isPresent(page)) {
        gone.add(unit);
      }
    }
    for (const unit of gone) {
      assert.equal(this.fault.resolve(unit), REMAPPED, `unit ${unit}`);
    }
  }

  /** Of a length, different every time. */
  private noise(length: number): Uint8Array {
    const start = (this.turn * 31) % 4096;
    return NOISE.slice(start, start + length);
  }

  private broughtIn(first: number, end: number): readonly [number, number] {
    for (let unit = first; unit < end; unit++) {
      this.model.bringIn(unit);
    }
    return this.rangeOf(first, end);
  }

  private rangeOf(first: number, end: number): readonly [number, number] {
    return [first * this.model.unitBytes, end * this.model.unitBytes];
  }

  [Symbol.dispose](): void {
    this.view[Symbol.dispose]();
    this.trapped.close();
  }
}
