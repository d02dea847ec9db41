import fc from 'fast-check';
import t from 'tap';
import { createAround } from '../../src/fault/around.js';

/** Faults in turn, each of which brings in all that is wanted after it. */
function faults(around: ReturnType<typeof createAround>, ...units: number[]): number[] {
  return units.map((unit) => {
    const wanted = around.wanted(unit);
    around.brought(unit, 1 + wanted);
    return wanted;
  });
}

t.test('a number wants as many neighbours every time', async (t) => {
  const around = createAround(5, 4096);
  t.equal(around.most, 5);
  t.strictSame(faults(around, 0, 100, 6, 7), [5, 5, 5, 5]);
  t.strictSame(faults(createAround(0, 4096), 0, 1, 2), [0, 0, 0]);
});

t.test('adaptive: a stream doubles what it brings in, up to the most', async (t) => {
  const around = createAround('adaptive', 4096);
  t.equal(around.most, 63);
  t.strictSame(faults(around, 0, 1, 3, 7, 15, 31, 63, 127, 191), [0, 1, 3, 7, 15, 31, 63, 63, 63]);
});

t.test('adaptive: downwards too', async (t) => {
  const around = createAround('adaptive', 4096);
  t.equal(around.wanted(1000), 0);
  around.brought(1000, 1);
  t.equal(around.wanted(999), 1);
  around.brought(998, 2);
  t.equal(around.wanted(997), 3);
});

t.test('adaptive: random access brings in nothing else', async (t) => {
  const around = createAround('adaptive', 4096);
  t.strictSame(faults(around, 10, 500, 20, 9000, 300), [0, 0, 0, 0, 0]);
});

t.test('adaptive: eight streams are followed at a time', async (t) => {
  const around = createAround('adaptive', 4096);
  const starts = Array.from({ length: 8 }, (_, stream) => stream * 1000);
  t.strictSame(faults(around, ...starts), Array(8).fill(0));
  t.strictSame(faults(around, ...starts.map((start) => start + 1)), Array(8).fill(1));
  t.strictSame(faults(around, ...starts.map((start) => start + 3)), Array(8).fill(3));
  t.strictSame(faults(around, 50_000), [0], 'a ninth takes the place of the oldest');
  t.strictSame(faults(around, 1007, 7), [7, 0]);
});

t.test('adaptive: one that failed to bring its neighbours goes on where it ended', async (t) => {
  const around = createAround('adaptive', 4096);
  faults(around, 0, 1);
  t.equal(around.wanted(3), 3);
  around.brought(3, 1); // the neighbours were taken
  t.equal(around.wanted(4), 7);
});

t.test('adaptive: never more than 2 MiB with the unit itself', async (t) => {
  for (const [unitBytes, most] of [
    [4096, 63],
    [16384, 63],
    [32768, 63],
    [65536, 31],
    [2 ** 20, 1],
    [2 ** 21, 0],
    [2 ** 30, 0],
  ] as const) {
    t.equal(createAround('adaptive', unitBytes).most, most, `units of ${unitBytes} bytes`);
  }
});

t.test('adaptive: whatever comes, 0 to the most are wanted', async (t) => {
  const unit = fc.nat({ max: 64 });
  fc.assert(
    fc.property(
      fc.array(unit, { maxLength: 300 }),
      fc.constantFrom(4096, 65536, 2 ** 21),
      (units, bytes) => {
        const around = createAround('adaptive', bytes);
        return faults(around, ...units).every((wanted) => wanted >= 0 && wanted <= around.most);
      },
    ),
  );
  t.pass();
});
