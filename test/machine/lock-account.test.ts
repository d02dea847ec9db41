import t from 'tap';
import { accountOfLocks, type LockReadings } from '../../src/machine/lock-account.js';
import type { LockTally } from '../../src/measure/lock-trace.js';

const times = (acquisitions: number, wait: number, hold: number) => ({
  acquisitions,
  failed: 0,
  waitNanoseconds: wait,
  longWaits: acquisitions,
  holdNanoseconds: hold,
});

const tally = (mm: string, reads: number, writes: number): LockTally => ({
  mm,
  read: times(reads, 1000 * reads, 3000 * reads),
  write: times(writes, 2000 * writes, 5000 * writes),
  downgrades: 0,
  unmatched: 0,
});

/** Traced as counted. */
const figures = (acquisitions: number, waitMicroseconds: number, holdMicroseconds: number) => ({
  acquisitions,
  waitMicroseconds,
  holdMicroseconds,
  longWaits: acquisitions,
  traced: acquisitions,
});

/** A thread that counted and, if it has tallies, traced. */
function thread(
  reads: number,
  writes: number,
  tallies: readonly LockTally[] | string,
  missing = 0,
): LockReadings {
  const failed = 1;
  return {
    perf: {
      pageFaults: 0,
      mmapLockAcquisitions: { value: reads + writes + failed },
      mmapLockWrites: { value: writes },
      mmapLockFailed: { value: failed },
      contextSwitches: { value: 0 },
      kvmExits: { value: 0 },
      calls: { slowGup: { value: 0 }, userfaults: { value: 0 } },
    },
    lockTrace:
      typeof tallies === 'string'
        ? { why: tallies }
        : { why: null, tallies, missing, records: 0, lost: 0, unknown: 0 },
  };
}

t.test('threads of a kind are summed; kinds that there are none of are left out', async (t) => {
  const { locks, why } = accountOfLocks({
    vcpus: [thread(10, 0, [tally('a', 10, 0)]), thread(30, 1, [tally('a', 30, 1)])],
    handlers: [],
    writers: [thread(5, 20, [tally('a', 5, 20)], 7)],
  });
  t.equal(why, null);
  t.strictSame(locks, [
    {
      threads: 'vcpus',
      read: figures(40, 40, 120),
      write: figures(1, 2, 5),
      failed: 2,
      lost: 0,
      unmatched: 0,
      foreign: 0,
    },
    {
      threads: 'writers',
      read: figures(5, 5, 15),
      write: figures(20, 40, 100),
      failed: 1,
      lost: 7,
      unmatched: 0,
      foreign: 0,
    },
  ]);
});

t.test('our own address space is the one that is locked most, by all together', async (t) => {
  const { locks } = accountOfLocks({
    vcpus: [thread(9, 0, [tally('other', 5, 0), tally('own', 4, 0)])],
    handlers: [thread(20, 0, [tally('own', 20, 0)])],
    writers: [],
  });
  t.match(locks, [
    { threads: 'vcpus', read: { acquisitions: 9, traced: 4 }, foreign: 5 },
    { threads: 'handlers', read: { acquisitions: 20, traced: 20 }, foreign: 0 },
  ]);
});

t.test('what was not traced is null, and why', async (t) => {
  const { locks, why } = accountOfLocks({
    vcpus: [thread(10, 0, [tally('a', 10, 0)]), thread(10, 0, 'no room')],
    handlers: [],
    writers: [],
  });
  t.equal(why, 'no room');
  t.match(locks, [
    {
      read: { acquisitions: 20, waitMicroseconds: null, holdMicroseconds: null, traced: null },
      failed: 2,
      lost: null,
      unmatched: null,
      foreign: null,
    },
  ]);
});

t.test('what was not counted is null as a whole', async (t) => {
  const uncounted = thread(1, 1, 'not asked for');
  for (const name of ['mmapLockAcquisitions', 'mmapLockWrites', 'mmapLockFailed'] as const) {
    const perf = { ...uncounted.perf, [name]: { value: null, why: 'not permitted' } };
    const vcpus = [{ ...uncounted, perf }];
    const { locks, why } = accountOfLocks({ vcpus, handlers: [], writers: [] });
    t.strictSame({ locks, why }, { locks: null, why: 'not permitted' });
  }
  t.match(accountOfLocks({ vcpus: [], handlers: [], writers: [] }), { locks: null });
});
