import t from 'tap';
import * as outcome from '../../src/fault/outcome.js';
import { COUNTERS, FIRST_OUTCOME } from '../../src/measure/counters.js';

t.test('counters hold the outcomes in their order', async (t) => {
  t.strictSame(
    COUNTERS.slice(FIRST_OUTCOME, FIRST_OUTCOME + outcome.OUTCOMES.length),
    outcome.OUTCOMES,
  );
  t.equal(new Set(COUNTERS).size, COUNTERS.length, 'and no two counters have one name');
});

t.test('each constant is the index of its name', async (t) => {
  const { OUTCOMES, ...constants } = outcome;
  t.strictSame(
    Object.entries(constants)
      .sort(([, a], [, b]) => a - b)
      .map(([name]) => name.toLowerCase().replace('_', '-')),
    OUTCOMES,
  );
  t.strictSame(Object.values(constants).sort(), [0, 1, 2, 3, 4, 5]);
});
