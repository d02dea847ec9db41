import t from 'tap';
import { createFaultTiming, TIMED_FAULT_INTERVAL } from '../../src/fault/fault-timing.js';
import {
  allocateHistograms,
  bucketOf,
  bucketStart,
  threadHistograms,
} from '../../src/measure/histogram.js';

function timed() {
  const histograms = threadHistograms(allocateHistograms(1), 0);
  return { ...histograms, timing: createFaultTiming(histograms) };
}

/** Spends at least so many nanoseconds. */
function spend(nanoseconds: number): void {
  const end = process.hrtime.bigint() + BigInt(nanoseconds);
  while (process.hrtime.bigint() < end);
}

const total = (histogram: Int32Array): number => histogram.reduce((sum, count) => sum + count, 0);

t.test('every fault is in the histogram, one in sixteen has its parts timed', async (t) => {
  const { resolve, user, allocate, timing } = timed();
  for (let fault = 0; fault < 10 * TIMED_FAULT_INTERVAL; fault++) {
    timing.arrived();
    timing.identified();
    timing.beforeAllocate();
    timing.afterAllocate();
    timing.beforeContinue();
    timing.afterContinue();
    timing.resolved();
  }
  t.equal(total(resolve), 10 * TIMED_FAULT_INTERVAL);
  t.equal(total(user), 10);
  t.equal(total(allocate), 10);
});

t.test('the parts: allocation apart, system calls in neither', async (t) => {
  const { resolve, user, allocate, timing } = timed();
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
  const only = (histogram: Int32Array): number => histogram.findIndex((count) => count > 0);
  t.ok(bucketStart(only(allocate) + 1) > 2_900_000);
  t.ok(bucketStart(only(user) + 1) > 2_900_000);
  const parts = bucketStart(only(user)) + bucketStart(only(allocate));
  t.ok(parts <= whole - 9_000_000, 'UFFDIO_CONTINUE is left out');
  t.ok(bucketStart(only(resolve) + 1) > 15_000_000, 'the first has the whole fault');
  t.ok(only(resolve) <= bucketOf(whole));
});

t.test('a fault that continued nothing has no parts', async (t) => {
  const { resolve, user, allocate, timing } = timed();
  timing.arrived();
  timing.identified();
  timing.resolved();
  t.equal(total(user), 0);
  t.equal(total(allocate), 0);
  t.equal(total(resolve), 1);
});
