import type { SymbolType } from '@observablehq/plot';

/** How a series is told from the others: by colour, and for whoever sees none by symbol and dashes. */
export interface SeriesStyle {
  /** A variable of the stylesheet, so that light and dark have each their own. */
  readonly color: string;
  readonly symbol: SymbolType;
}

const SYMBOLS: readonly SymbolType[] = [
  'circle',
  'square',
  'triangle',
  'diamond',
  'star',
  'plus',
  'times',
  'wye',
];

/** Colours in the stylesheet. */
export const SERIES_COLORS = 8;

/** Of the series number `index`. With more series than colours, the symbols go on turning. */
export function seriesStyle(index: number): SeriesStyle {
  const turn = Math.floor(index / SERIES_COLORS);
  return {
    color: `var(--series-${(index % SERIES_COLORS) + 1})`,
    symbol: SYMBOLS[(index + turn) % SYMBOLS.length]!,
  };
}
