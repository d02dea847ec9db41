import type { Disturbance } from '../measure/other-load.js';
import type { Figure } from './bench-result.js';

/** What a figure that could not be had looks like in text. */
export const NO_FIGURE = '–';

/** A figure with a fixed number of decimals, or a dash for one that this host does not give. */
export function figure(value: number | null | undefined, decimals: number): string {
  return value === null || value === undefined ? NO_FIGURE : value.toFixed(decimals);
}

/** A count with thousands apart. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? NO_FIGURE : value.toLocaleString('en-US');
}

/** The middle value; the mean of the two middle ones of an even number. Null of none, or of a null. */
export function median(values: readonly (number | null | undefined)[]): number | null {
  const known = values.filter((value): value is number => typeof value === 'number');
  if (known.length === 0 || known.length < values.length) {
    return null;
  }
  known.sort((a, b) => a - b);
  const middle = known.length >> 1;
  return known.length % 2 === 1 ? known[middle]! : (known[middle - 1]! + known[middle]!) / 2;
}

/** How many of some runs others disturbed; a dash where none was long enough to tell. */
export function disturbedText({ disturbed, told }: Disturbance): string {
  return told === 0 ? NO_FIGURE : `${disturbed} of ${told}`;
}

/** One figure over the repetitions of a run; null where one of them does not have it. */
export function figureOf(values: readonly (number | null | undefined)[]): Figure | null {
  const middle = median(values);
  if (middle === null) {
    return null;
  }
  const known = values as readonly number[];
  return {
    median: middle,
    lowest: Math.min(...known),
    highest: Math.max(...known),
    runs: known.length,
  };
}

/** A median and, where there were repetitions, their range: `12,345 (12,100 to 12,600)`. */
export function figureText(value: Figure | null | undefined, decimals: number): string {
  if (value === null || value === undefined) {
    return NO_FIGURE;
  }
  const text = (number: number): string =>
    number.toLocaleString('en-US', {
      minimumFractionDigits: decimals,
      maximumFractionDigits: decimals,
    });
  const { median: middle, lowest, highest, runs } = value;
  const range = `${text(lowest)} to ${text(highest)}`;
  return runs < 2 || text(lowest) === text(highest) ? text(middle) : `${text(middle)} (${range})`;
}

/** Whether all repetitions of one were above, or below, all of the other; null where nobody knows. */
export function standsClear(a: Figure, b: Figure): boolean | null {
  if (a.runs < 2 || b.runs < 2) {
    return null;
  }
  return a.lowest > b.highest || b.lowest > a.highest;
}

/**
 * How likely the repetitions of two equal things stand apart by chance: of all orders in which they
 * can come, two. With n and m of them 2 / C(n + m, n): 1 in 3 of two each, 1 in 10 of three.
 */
export function chanceToStandClear({ runs: n }: Figure, { runs: m }: Figure): number {
  const fewer = Math.min(n, m);
  let orders = 1;
  for (let chosen = 1; chosen <= fewer && orders < 1e12; chosen++) {
    orders *= (n + m - fewer + chosen) / chosen;
  }
  return Math.min(1, 2 / orders);
}
