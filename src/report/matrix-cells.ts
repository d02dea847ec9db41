import { NO_FIGURE } from './figures.js';
import { textTable, wrapText } from './table.js';

/** What a column, or a word in one, means. */
export type Legend = readonly (readonly [name: string, meaning: string])[];

/** A table of words under what explains it. */
export function explainedTable(
  legend: Legend,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  const lines = legend.map(([name, meaning]) =>
    wrapText(`${name.padEnd(9)} ${meaning}`, 100, ' '.repeat(10)),
  );
  return [...lines, '', textTable(head, rows, head.length)];
}

/** A row of dashes but for its first cells. */
export function row(length: number, ...first: readonly string[]): string[] {
  return [...first, ...Array<string>(length - first.length).fill(NO_FIGURE)];
}

/** One row for both locks where nothing else differs. The lock is in the second cell. */
export function mergeLocks(rows: readonly string[][]): string[][] {
  const merged = new Map<string, string[]>();
  for (const cells of rows) {
    const key = cells.filter((_, column) => column !== 1).join('\n');
    const twin = merged.get(key);
    merged.set(key, twin === undefined ? cells : cells.with(1, 'both'));
  }
  return [...merged.values()];
}

export function keptWord(kept: boolean | null): string {
  return kept === null ? NO_FIGURE : kept ? 'kept' : 'gone';
}

export function yesWord(yes: boolean | null): string {
  return yes === null ? NO_FIGURE : yes ? 'yes' : 'no';
}
