import t from 'tap';
import { DefectError } from '../../src/ffi/errors.js';
import { PerfRing } from '../../src/measure/perf-ring.js';
import { FORMATS, MadeRing } from '../support/made-ring.js';

const types = (made: MadeRing): number[] => {
  const found: number[] = [];
  made.ring().visit((type) => found.push(type));
  return found;
};

t.test('records come in their order, from wherever they begin', async (t) => {
  for (const tail of [0, 8, 64, 2 ** 20, 2 ** 33 + 40]) {
    const made = new MadeRing(256, tail);
    made.event(FORMATS.start, 1, false).lostSamples(3).event(FORMATS.released, 2, false);
    t.strictSame(types(made), [9, 9], `from ${tail} on`);
  }
  t.strictSame(types(new MadeRing(64)), [], 'and an empty ring has none');
});

t.test('a record that goes on at the start of the ring is read whole', async (t) => {
  for (let tail = 0; tail < 64; tail += 8) {
    const made = new MadeRing(64, tail).event(FORMATS.start, 2 ** 50 + 12345, true);
    made.ring().visit((_type, at, bytes) => {
      const ring = made.ring();
      t.equal(bytes, 48);
      t.equal(ring.u64(at + 16), 2 ** 50 + 12345);
      t.equal(ring.u16(at + 28), FORMATS.start.id);
      t.equal(ring.u8(at + 28 + 5), 1);
      t.equal(ring.u32(at + 28 + 12), 0x0000_1000, 'the low half of a field across words');
      t.equal(ring.u32(at + 28 + 16), 0xffff_8881);
    });
  }
});

t.test('what the kernel had no room for is counted', async (t) => {
  const made = new MadeRing(256).lost(7).event(FORMATS.start, 1, false).lostSamples(5);
  t.equal(
    made.ring().visit(() => undefined),
    12,
  );
});

t.test('a damaged ring is a defect, not a shorter trace', async (t) => {
  const visit = (made: MadeRing, head?: number): number => made.ring(head).visit(() => undefined);
  const record = (): DataView => new DataView(new ArrayBuffer(16));
  t.throws(() => visit(new MadeRing(64).add(9, record(), 0)), DefectError, 'no size');
  t.throws(() => visit(new MadeRing(64).add(9, record(), 12)), DefectError, 'no multiple of 8');
  t.throws(() => visit(new MadeRing(64).add(9, record(), 24)), DefectError, 'beyond the head');
  t.throws(() => visit(new MadeRing(64).event(FORMATS.start, 1, false), 40), DefectError, 'cut');
  t.throws(() => new PerfRing(new ArrayBuffer(96), 0, 0), DefectError, 'no power of two');
  t.throws(() => new PerfRing(new ArrayBuffer(64), 0, 72), DefectError, 'overwritten');
  t.throws(() => new PerfRing(new ArrayBuffer(64), 8, 0), DefectError, 'head before tail');
});
