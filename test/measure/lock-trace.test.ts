import fc from 'fast-check';
import t from 'tap';
import { readLockTrace } from '../../src/measure/lock-trace.js';
import { PERF_RECORD_SAMPLE } from '../../src/uapi/perf.js';
import { FORMATS, MadeRing, OUR_MM } from '../support/made-ring.js';

const { start, returned, released } = FORMATS;
const read = (made: MadeRing) => readLockTrace(made.ring(), FORMATS);

t.test('waits and holds are summed, for read and for write', async (t) => {
  const { tallies, records, lost, unknown } = read(
    new MadeRing(2 ** 12)
      .lock(100, 103, 110)
      .lock(200, 10_201, 10_202, true)
      .lock(20_300, 20_301, 20_302),
  );
  t.strictSame({ records, lost, unknown }, { records: 9, lost: 0, unknown: 0 });
  t.strictSame(tallies, [
    {
      mm: OUR_MM.toString(16),
      read: { acquisitions: 2, failed: 0, waitNanoseconds: 4, longWaits: 0, holdNanoseconds: 8 },
      write: {
        acquisitions: 1,
        failed: 0,
        waitNanoseconds: 10_001,
        longWaits: 1,
        holdNanoseconds: 1,
      },
      downgrades: 0,
      unmatched: 0,
    },
  ]);
});

t.test('a trylock that fails holds nothing', async (t) => {
  const made = new MadeRing(2 ** 12)
    .event(start, 10, false)
    .event(returned, 12, false, { success: false })
    .lock(20, 21, 22);
  const [tally] = read(made).tallies;
  t.match(tally, { read: { acquisitions: 1, failed: 1, waitNanoseconds: 3, holdNanoseconds: 1 } });
  t.equal(tally!.unmatched, 0);
});

t.test(
  'a write lock that is downgraded ends there, and is one for read from then on',
  async (t) => {
    const made = new MadeRing(2 ** 12)
      .event(start, 0, true)
      .event(returned, 5, true)
      .event(returned, 9, false)
      .event(released, 29, false);
    const [tally] = read(made).tallies;
    t.match(tally, {
      downgrades: 1,
      unmatched: 0,
      write: { acquisitions: 1, waitNanoseconds: 5, holdNanoseconds: 4 },
      read: { acquisitions: 1, waitNanoseconds: 0, holdNanoseconds: 20 },
    });
  },
);

t.test('address spaces are kept apart, the most locked one first', async (t) => {
  const other = OUR_MM + 0x1_0000_0000n;
  const made = new MadeRing(2 ** 12)
    .lock(0, 1, 2, false, other)
    .lock(3, 4, 5)
    .lock(6, 7, 8)
    .lock(9, 19, 29, true, other);
  made.lock(30, 31, 32);
  const { tallies } = read(made);
  t.strictSame(
    tallies.map(({ mm, read, write }) => [mm, read.acquisitions, write.acquisitions]),
    [
      [OUR_MM.toString(16), 3, 0],
      [other.toString(16), 1, 1],
    ],
  );
});

t.test('events that do not follow from those before are counted, not guessed at', async (t) => {
  const unmatched = (made: MadeRing): number => read(made).tallies[0]!.unmatched;
  const made = (): MadeRing => new MadeRing(2 ** 12);
  t.equal(unmatched(made().event(released, 1, false)), 1, 'released, and never had');
  t.equal(unmatched(made().event(start, 1, false)), 1, 'still waited for at the end');
  t.equal(unmatched(made().event(returned, 1, false).event(released, 2, false)), 1);
  t.equal(unmatched(made().event(start, 1, true).event(returned, 2, false)), 2, 'another mode');
  const [tally] = read(made().event(start, 1, false).event(returned, 4, false)).tallies;
  t.match(tally, { unmatched: 1, read: { acquisitions: 1, holdNanoseconds: 0 } }, 'still held');
});

t.test('records of other kinds and other tracepoints are only counted', async (t) => {
  const made = new MadeRing(2 ** 12)
    .add(77, new DataView(new ArrayBuffer(24)))
    .event({ id: 999 }, 1, true)
    .lock(2, 3, 4)
    .lost(2);
  t.match(read(made), { unknown: 2, records: 3, lost: 2 });
});

t.test('whatever the sequence, acquisitions and failures are those in it', async (t) => {
  const events = fc.array(
    fc.record({
      kind: fc.constantFrom('start', 'returned', 'released'),
      write: fc.boolean(),
      success: fc.boolean(),
    }),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(events, fc.nat(1000), (list, tail) => {
      const made = new MadeRing(2 ** 12, tail * 8);
      for (const [time, { kind, write, success }] of list.entries()) {
        made.event(FORMATS[kind as keyof typeof FORMATS], time, write, { success });
      }
      const trace = read(made);
      const returns = list.filter(({ kind }) => kind === 'returned');
      const of = (write: boolean, success: boolean): number =>
        returns.filter((event) => event.write === write && event.success === success).length;
      const [tally] = trace.tallies;
      return (
        trace.records === list.length &&
        (tally?.read.acquisitions ?? 0) === of(false, true) &&
        (tally?.write.acquisitions ?? 0) === of(true, true) &&
        (tally?.read.failed ?? 0) === of(false, false) &&
        (tally?.write.failed ?? 0) === of(true, false) &&
        (tally?.read.holdNanoseconds ?? 0) + (tally?.write.holdNanoseconds ?? 0) <= list.length
      );
    }),
  );
  t.equal(PERF_RECORD_SAMPLE, 9);
});
