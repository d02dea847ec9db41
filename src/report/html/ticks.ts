/** Ticks of an axis, chosen so that their labels stand clear of each other. */

/** Pixels of a character of the charts' font, at most. */
const CHARACTER_PIXELS = 7.5;
const GAP_PIXELS = 10;

/**
 * Of `values`, ascending, those whose labels have room, the first one always among them.
 *
 * @param pixelsOf where a value is
 * @param label its text, as wide as it is long; empty for an axis whose labels stand above each other
 */
export function ticksWithRoom(
  values: readonly number[],
  pixelsOf: (value: number) => number,
  label: (value: number) => string,
): number[] {
  const chosen: number[] = [];
  let free = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    const half = (label(value).length * CHARACTER_PIXELS) / 2;
    const at = pixelsOf(value);
    if (at - half >= free) {
      chosen.push(value);
      free = at + half + GAP_PIXELS;
    }
  }
  return chosen;
}

/** 1, 2 and 5 times powers of ten, from `low` to `high`. */
export function decimalLadder(low: number, high: number): number[] {
  const values: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    values.push(...[1, 2, 5].map((factor) => Number(`${factor}e${power}`)));
  }
  return values.filter((value) => value >= low && value <= high);
}

/** Ticks of a logarithmic axis of `pixels`: as dense as they fit, and no denser. */
export function logTicks(
  [low, high]: readonly [number, number],
  pixels: number,
  label: (value: number) => string,
): number[] {
  const at = (value: number): number => (Math.log(value / low) / Math.log(high / low)) * pixels;
  const ladder = decimalLadder(low, high);
  const fits = (values: readonly number[]): boolean =>
    ticksWithRoom(values, at, label).length === values.length;
  const decades = ladder.filter((value) => Number.isInteger(Math.log10(value)));
  if (fits(ladder)) {
    return ladder;
  }
  return fits(decades) && decades.length > 1 ? decades : ticksWithRoom(ladder, at, label);
}

/** 12,000 → `12k`, 3,400,000 → `3.4M`. */
export function compactCount(value: number): string {
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const) {
    if (value >= size) {
      return `${Number((value / size).toPrecision(3))}${unit}`;
    }
  }
  return String(Number(value.toPrecision(3)));
}

/** Microseconds: `16 µs`, `4 ms`, `2 s`. */
export function compactTime(microseconds: number): string {
  for (const [unit, size] of [
    ['s', 1e6],
    ['ms', 1e3],
  ] as const) {
    if (microseconds >= size) {
      return `${Number((microseconds / size).toPrecision(3))} ${unit}`;
    }
  }
  return `${Number(microseconds.toPrecision(3))} µs`;
}
