/** Fills that differ by more than colour, for bars that stand on each other. */
export interface PatternFill {
  readonly name: string;
  /** What a mark's `fill` says; each drawing has its own copy under its own name. */
  readonly reference: string;
  readonly color: string;
  /** What is drawn over a faint ground of the same colour, in a field of 6 × 6. */
  readonly lines: string;
}

const fill = (name: string, color: string, lines: string): PatternFill => ({
  name,
  reference: `url(#${name})`,
  color,
  lines,
});

export const READ_WAIT = fill('read-wait', 'var(--series-1)', 'M-1,1l2,-2M0,6l6,-6M5,7l2,-2');
export const WRITE_WAIT = fill('write-wait', 'var(--series-2)', 'M-1,5l2,2M0,0l6,6M5,-1l2,2');
export const WRITE_HOLD = fill('write-hold', 'var(--series-2)', 'M0,1.5h6M0,4.5h6');

export const PATTERN_FILLS: readonly PatternFill[] = [READ_WAIT, WRITE_WAIT, WRITE_HOLD];

/** SVG. */
export function patternsFor(prefix: string, fills: readonly PatternFill[]): string {
  const patterns = fills.map(
    ({ name, color, lines }) =>
      `<pattern id="${prefix}${name}" width="6" height="6" patternUnits="userSpaceOnUse">` +
      `<rect width="6" height="6" fill="${color}" fill-opacity="0.25"></rect>` +
      `<path d="${lines}" stroke="${color}" stroke-width="1.5" fill="none"></path></pattern>`,
  );
  return `<defs>${patterns.join('')}</defs>`;
}
