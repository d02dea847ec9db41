import t from 'tap';
import { chanceToStandClear, standsClear } from '../../src/report/figures.js';

const figure = (values: readonly number[]) => ({
  median: 0,
  lowest: Math.min(...values),
  highest: Math.max(...values),
  runs: values.length,
});

/** All ways to choose `size` of them. */
function choices(values: readonly number[], size: number): number[][] {
  if (size === 0) {
    return [[]];
  }
  return values.flatMap((value, index) =>
    choices(values.slice(index + 1), size - 1).map((rest) => [value, ...rest]),
  );
}

t.test('equal things stand apart in as many orders as are counted one by one', async (t) => {
  for (const [n, m] of [
    [2, 2],
    [3, 3],
    [2, 5],
    [5, 3],
    [4, 4],
  ] as const) {
    const values = Array.from({ length: n + m }, (_, index) => index);
    const orders = choices(values, n);
    const apart = orders.filter((mine) =>
      standsClear(figure(mine), figure(values.filter((value) => !mine.includes(value)))),
    );
    const { length } = orders;
    const chance = chanceToStandClear(figure(values.slice(0, n)), figure(values.slice(n)));
    t.ok(Math.abs(chance - apart.length / length) < 1e-12, `${n} and ${m} runs: ${chance}`);
  }
});

t.test('of however many runs it is a chance', async (t) => {
  for (const [n, m] of [
    [1, 1],
    [1e6, 1e6],
    [2 ** 53, 2],
    [1e300, 1e300],
  ] as const) {
    const chance = chanceToStandClear({ ...figure([0]), runs: n }, { ...figure([0]), runs: m });
    t.ok(chance >= 0 && chance <= 1, `${n} and ${m}: ${chance}`);
  }
});
