import t from 'tap';
import { madvise } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { viewOf } from '../../src/ffi/view.js';
import { type Measured, sumMeasured } from '../../src/measure/measured.js';
import {
  type PerfEvents,
  perfEvents,
  ThreadPerfCounters,
} from '../../src/measure/perf-counters.js';
import { MADV_NOHUGEPAGE } from '../../src/uapi/mman.js';
import { rootSkip, unprivileged } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';

const EVENTS = perfEvents(true);
const NOTHING = perfEvents(false);
const pause = new Int32Array(new SharedArrayBuffer(4));

/** Why `figure` was not measured here, or false. */
const unmeasured = (figure: Measured): string | false => figure.value === null && figure.why;

function read(work: () => void, events: PerfEvents = EVENTS) {
  using perf = new ThreadPerfCounters(events);
  perf.start();
  work();
  return perf.stop();
}

const { contextSwitches, mmapLockAcquisitions } = read(() => undefined);

t.test('every sleep is a context switch', { skip: unmeasured(contextSwitches) }, async (t) => {
  const switches = (sleeps: number): number => {
    const { contextSwitches } = read(() => {
      for (let sleep = 0; sleep < sleeps; sleep++) {
        Atomics.wait(pause, 0, 0, 1);
      }
    });
    return contextSwitches.value!;
  };
  t.ok(switches(50) >= 50);
  t.ok(switches(0) < 50, 'and without a sleep there are few');
});

t.test('page faults of the thread are counted', async (t) => {
  using mapping = Mapping.scratch(256 * 4096);
  madvise(mapping.address, mapping.bytes, MADV_NOHUGEPAGE);
  const bytes = new Uint8Array(viewOf(mapping.address, mapping.bytes));
  const { pageFaults } = read(() => {
    for (let page = 0; page < 256; page++) {
      bytes[page * 4096] = 1;
    }
  });
  t.ok(pageFaults >= 256 && pageFaults < 2000, `${pageFaults} faults for 256 pages`);
});

t.test(
  'mmap_lock is taken by every mmap and munmap',
  {
    skip: unmeasured(mmapLockAcquisitions),
  },
  async (t) => {
    const { mmapLockAcquisitions } = read(() => {
      for (let round = 0; round < 20; round++) {
        Mapping.scratch(4096).close();
      }
    });
    t.ok(mmapLockAcquisitions.value! >= 40, `${mmapLockAcquisitions.value} acquisitions`);
  },
);

t.test(
  'only what happens between start and stop counts',
  { skip: unmeasured(contextSwitches) },
  async (t) => {
    using perf = new ThreadPerfCounters(EVENTS);
    for (let sleep = 0; sleep < 50; sleep++) {
      Atomics.wait(pause, 0, 0, 1);
    }
    perf.start();
    const { contextSwitches } = perf.stop();
    t.ok(contextSwitches.value! < 10);
  },
);

t.test('what is not asked for is null, with the reason', async (t) => {
  const { mmapLockAcquisitions, contextSwitches } = read(() => undefined, NOTHING);
  t.strictSame(mmapLockAcquisitions, { value: null, why: 'it was not asked for' });
  t.strictSame(contextSwitches, { value: null, why: 'it was not asked for' });
});

t.test('an event that this kernel lacks is null, with the reason', async (t) => {
  const why = 'no such tracepoint';
  const { mmapLockAcquisitions } = read(() => undefined, {
    ...EVENTS,
    mmapLock: { value: null, why },
  });
  t.strictSame(mmapLockAcquisitions, { value: null, why });
  const refused = read(() => undefined, { ...EVENTS, mmapLock: { value: 0x7fff_ffff } });
  t.match(refused.mmapLockAcquisitions, { value: null, why: /perf_event_open/ });
});

t.test('without permission it says what to do', { skip: rootSkip() }, async (t) => {
  const { mmapLockAcquisitions } = unprivileged(() =>
    read(() => undefined, { ...NOTHING, mmapLock: { value: 1 } }),
  );
  t.match(mmapLockAcquisitions, { value: null, why: /perf_event_open/ });
});

t.test('nothing stays open', async (t) => {
  const before = openDescriptors();
  read(() => undefined);
  t.strictSame(openDescriptors(), before);
});

t.test('a sum has a figure only if every thread has one', async (t) => {
  t.strictSame(sumMeasured([{ value: 1 }, { value: 2 }]), { value: 3 });
  t.strictSame(sumMeasured([]), { value: 0 });
  const why = { value: null, why: 'not permitted' };
  t.strictSame(sumMeasured([{ value: 1 }, why, { value: 2 }]), why);
});
