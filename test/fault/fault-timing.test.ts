import t from 'tap';
import { createFaultTiming, TIMED_FAULT_INTERVAL } from '../../src/fault/fault-timing.js';
import {
  ALLOCATE_NANOSECONDS,
  COUNTER_ROW_BYTES,
  counterRow,
  TIMED_FAULTS,
  USER_NANOSECONDS,
} from '../../src/measure/counters.js';
import {
  bucketOf,
  bucketStart,
  HISTOGRAM_BYTES,
  histogramRow,
} from '../../src/measure/histogram.js';

function timed() {
  const counters = counterRow(new SharedArrayBuffer(COUNTER_ROW_BYTES), 0);
  const histogram = histogramRow(new SharedArrayBuffer(HISTOGRAM_BYTES), 0);
  return { counters, histogram, timing: createFaultTiming(histogram, counters) };
}

/** Spends at least so many nanoseconds. */
function spend(nanoseconds: number): void {
  const end = process.hrtime.bigint() + BigInt(nanoseconds);
  while (process.hrtime.bigint() < end);
}

const total = (histogram: Int32Array): number => histogram.reduce((sum, count) => sum + count, 0);

t.test('every fault is in the histogram, one in sixteen has its parts timed', async (t) => {
  const { counters, histogram, timing } = timed();
  for (let fault = 0; fault < 10 * TIMED_FAULT_INTERVAL; fault++) {
    timing.arrived();
    timing.identified();
    timing.beforeAllocate();
    timing.afterAllocate();
    timing.beforeContinue();
    timing.afterContinue();
    timing.resolved();
  }
  t.equal(total(histogram), 10 * TIMED_FAULT_INTERVAL);
  t.equal(counters[TIMED_FAULTS], 10);
});

t.test('the parts: allocation apart, system calls in neither', async (t) => {
  const { counters, histogram, timing } = timed();
  const began = process.hrtime.bigint();
  timing.arrived();
  timing.identified();
  spend(1_000_000);
  timing.beforeAllocate();
  spend(3_000_000);
  timing.afterAllocate();
  spend(1_000_000);
  timing.beforeContinue();
  spend(9_000_000);
  timing.afterContinue();
  spend(1_000_000);
  timing.resolved();
  const whole = Number(process.hrtime.bigint() - began);
  t.ok(counters[ALLOCATE_NANOSECONDS]! >= 3_000_000);
  t.ok(counters[USER_NANOSECONDS]! >= 3_000_000);
  t.ok(
    counters[USER_NANOSECONDS]! + counters[ALLOCATE_NANOSECONDS]! <= whole - 9_000_000,
    'UFFDIO_CONTINUE is left out',
  );
  const bucket = histogram.findIndex((count) => count > 0);
  t.ok(bucketStart(bucket + 1) > 15_000_000, 'the histogram has the whole fault');
  t.ok(bucket <= bucketOf(whole));
});

t.test('a fault that continued nothing has no parts', async (t) => {
  const { counters, histogram, timing } = timed();
  timing.arrived();
  timing.identified();
  timing.resolved();
  t.equal(counters[TIMED_FAULTS], 0);
  t.equal(counters[USER_NANOSECONDS], 0);
  t.equal(total(histogram), 1);
});
