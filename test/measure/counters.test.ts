import t from 'tap';
import {
  COUNTER_ROW_BYTES,
  COUNTERS,
  counterRow,
  FAULTS,
  KVM_RUNS,
  readCounters,
  SYSCALLS,
} from '../../src/measure/counters.js';

t.test('rows of different threads share no cache line', async (t) => {
  t.equal(COUNTER_ROW_BYTES % 64, 0);
  const buffer = new SharedArrayBuffer(4 * COUNTER_ROW_BYTES);
  const rows = [0, 1, 2, 3].map((thread) => counterRow(buffer, thread));
  rows.forEach((row, thread) => {
    t.equal(row.byteOffset % 64, 0);
    const next = rows[thread + 1];
    // The buffer itself starts on 16 bytes only, so what counts is the room between two rows.
    t.ok(
      next === undefined || next.byteOffset - (row.byteOffset + row.byteLength) >= 64 - 16,
      `rows ${thread} and ${thread + 1} are apart`,
    );
  });
});

t.test('a row holds every counter by name', async (t) => {
  const row = counterRow(new SharedArrayBuffer(COUNTER_ROW_BYTES), 0);
  row[KVM_RUNS] = 1;
  row[FAULTS] = 2 ** 53 - 1;
  row[SYSCALLS] = 3;
  const counters = readCounters(row);
  t.strictSame(Object.keys(counters), [...COUNTERS]);
  t.match(counters, { kvmRuns: 1, faults: 2 ** 53 - 1, syscalls: 3, portAccesses: 0 });
});

t.test('a row is seen by whoever has the buffer, and by no other row', async (t) => {
  const buffer = new SharedArrayBuffer(2 * COUNTER_ROW_BYTES);
  counterRow(buffer, 1).fill(7);
  t.ok(counterRow(structuredClone(buffer), 1).every((count) => count === 7));
  t.ok(counterRow(buffer, 0).every((count) => count === 0));
});
