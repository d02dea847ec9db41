import t from 'tap';
import { monotonicClock } from '../../src/measure/monotonic-clock.js';

const pause = new Int32Array(new SharedArrayBuffer(4));
const sleep = (milliseconds: number): void => void Atomics.wait(pause, 0, 0, milliseconds);

/** Waits until CLOCK_MONOTONIC is so many milliseconds past a whole second. */
function waitForPhase(milliseconds: number): void {
  const now = Number(process.hrtime.bigint() % 1_000_000_000n) / 1e6;
  sleep((milliseconds - now + 1000) % 1000);
}

t.test('time does not go backwards', async (t) => {
  const { stamp, between } = monotonicClock(2);
  let least = 0;
  for (let round = 0; round < 10_000; round++) {
    stamp[0]!();
    stamp[1]!();
    least = Math.min(least, between(0, 1));
  }
  t.equal(least, 0);
});

t.test('points are held apart, and the time between any two is known', async (t) => {
  const { stamp, between } = monotonicClock(3);
  t.equal(stamp.length, 3);
  const before = process.hrtime.bigint();
  stamp[0]!();
  sleep(20);
  stamp[1]!();
  sleep(10);
  stamp[2]!();
  const whole = Number(process.hrtime.bigint() - before);
  t.ok(between(0, 1) >= 20e6);
  t.ok(between(1, 2) >= 10e6);
  t.equal(between(0, 1) + between(1, 2), between(0, 2));
  t.ok(between(0, 2) <= whole);
});

t.test('across the boundary of a second', { timeout: 20_000 }, async (t) => {
  const { stamp, between } = monotonicClock(2);
  waitForPhase(990);
  const before = process.hrtime.bigint();
  stamp[0]!();
  sleep(30);
  stamp[1]!();
  const whole = Number(process.hrtime.bigint() - before);
  t.ok(between(0, 1) >= 30e6);
  t.ok(between(0, 1) <= whole);
});

t.test('across two boundaries, but less than 2^31 ns', { timeout: 20_000 }, async (t) => {
  const { stamp, between } = monotonicClock(2);
  waitForPhase(950);
  const before = process.hrtime.bigint();
  stamp[0]!();
  sleep(1100);
  stamp[1]!();
  const whole = Number(process.hrtime.bigint() - before);
  t.ok(between(0, 1) >= 1100e6);
  t.ok(between(0, 1) <= whole, `${between(0, 1)} of ${whole} ns`);
});

t.test('more than 2^31 - 1 ns is 2^31 - 1', { timeout: 20_000 }, async (t) => {
  const { stamp, between } = monotonicClock(2);
  stamp[0]!();
  sleep(2200);
  stamp[1]!();
  t.equal(between(0, 1), 2 ** 31 - 1);
});
