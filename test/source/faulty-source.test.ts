import t from 'tap';
import {
  FaultySource,
  GARBAGE,
  Gate,
  nameOfFault,
  type SourceFault,
} from '../../src/source/faulty-source.js';
import { openRehearsalSource, openSource } from '../../src/source/open-source.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { SourceControl } from '../../src/source/source-control.js';

const CONTENTS = { kind: 'pattern', seed: 9 } as const;
const right = new PatternSource(9);
const PAGE = 4096;

function faulty(faults: readonly SourceFault[], control = SourceControl.allocate()): FaultySource {
  const counts = FaultySource.allocate(faults);
  return openSource({ kind: 'faulty', of: CONTENTS, faults, counts, control }) as FaultySource;
}

t.test('a page fails so many times, and is then what it was', async (t) => {
  const source = faulty([{ kind: 'page', address: 5 * PAGE + 1234, times: 2 }]);
  const words = new Int32Array(4096);
  for (const [first, pages, works] of [
    [4, 1, true],
    [5, 1, false],
    [6, 1, true],
    [3, 4, false],
    [3, 4, true],
    [5, 1, true],
  ] as const) {
    t.equal(source.fill(first, words, 0, pages * 1024), works, `${pages} pages from ${first}`);
    if (works) {
      t.equal(right.compare(first, words, 0), -1);
    } else {
      t.ok(
        words.subarray(0, pages * 1024).every((word) => word === GARBAGE),
        'a request that fails leaves garbage, so that nobody takes it for contents',
      );
    }
  }
});

t.test('a page fails for good', async (t) => {
  const source = faulty([{ kind: 'page', address: 0, times: null }]);
  const words = new Int32Array(1024);
  for (let time = 0; time < 100; time++) {
    t.equal(source.fill(0, words, 0, 1024), false);
  }
});

t.test('one request in some fails, counted over all threads', async (t) => {
  const faults: SourceFault[] = [{ kind: 'every', requests: 3, times: 2 }];
  const counts = FaultySource.allocate(faults);
  const control = SourceControl.allocate();
  const spec = { kind: 'faulty', of: CONTENTS, faults, counts, control } as const;
  const words = new Int32Array(1024);
  const one = openSource(spec);
  const two = openSource(spec);
  const outcomes = Array.from({ length: 12 }, (_, request) =>
    (request % 2 === 0 ? one : two).fill(request, words, 0, 1024),
  );
  t.strictSame(
    outcomes.flatMap((works, request) => (works ? [] : [request])),
    [2, 5],
  );
});

t.test('a source throws', async (t) => {
  const source = faulty([{ kind: 'throw', address: 0x3000 }]);
  const words = new Int32Array(1024);
  t.equal(source.fill(2, words, 0, 1024), true);
  t.throws(() => source.fill(3, words, 0, 1024), { message: /threw.*0x3000/ });
});

t.test('a delay ends when the machine is being stopped', { timeout: 20_000 }, async (t) => {
  const control = SourceControl.allocate();
  const source = faulty([{ kind: 'delay', milliseconds: 3_600_000 }], control);
  new SourceControl(control).close();
  const words = new Int32Array(1024);
  t.equal(source.fill(2, words, 0, 1024), true);
  t.equal(right.compare(2, words, 0), -1, 'and the contents are right all the same');
});

t.test(
  'a gate holds its page alone, and nobody once it is open',
  { timeout: 20_000 },
  async (t) => {
    const gate = new Gate();
    const source = faulty([{ kind: 'hold', address: PAGE, gate: gate.buffer }]);
    const words = new Int32Array(1024);
    t.equal(source.fill(2, words, 0, 1024), true);
    t.equal(gate.heldThread, null);
    gate.open();
    t.equal(source.fill(1, words, 0, 1024), true);
    t.equal(gate.heldThread, 0, 'the main thread came to it');
  },
);

t.test('a rehearsal does not misbehave, and uses nothing up', { timeout: 20_000 }, async (t) => {
  const faults: SourceFault[] = [
    { kind: 'page', address: 0, times: 1 },
    { kind: 'delay', milliseconds: 3_600_000 },
  ];
  const counts = FaultySource.allocate(faults);
  const control = SourceControl.allocate();
  const spec = { kind: 'faulty', of: CONTENTS, faults, counts, control } as const;
  const words = new Int32Array(1024);
  const source = openRehearsalSource({ kind: 'retrying', of: spec, retries: 3, control });
  t.equal(source.fill(0, words, 0, 1024), true);
  t.equal(right.compare(0, words, 0), -1);
  t.ok(new Int32Array(counts).every((count) => count === 0));
});

t.test('comparing is not disturbed', async (t) => {
  const source = faulty([{ kind: 'page', address: 0, times: null }]);
  const words = new Int32Array(1024);
  right.fill(0, words, 0, 1024);
  t.equal(source.compare(0, words, 0), -1);
  words[7]! ^= 1;
  t.equal(source.compare(0, words, 0), 7);
});

t.test('the name of a gate is a name too', async (t) => {
  const { buffer: gate } = new Gate();
  t.equal(nameOfFault({ kind: 'hold', address: 4096, gate }), 'hold=0x1000');
});
