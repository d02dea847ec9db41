/** The tables of the README that come from data, between marks that do not show. */
import { backingTable, refusalTable } from '../../src/report/backing-tables.js';

const TABLES = { backings: backingTable, refusals: refusalTable } as const;

/** The README with its tables as the data has them now. */
export function withTables(readme: string): string {
  let text = readme;
  for (const [name, table] of Object.entries(TABLES)) {
    const [before, rest] = text.split(`<!-- ${name} -->`);
    const [, after] = rest!.split(`<!-- /${name} -->`);
    text = `${before}<!-- ${name} -->\n\n${table()}\n\n<!-- /${name} -->${after}`;
  }
  return text;
}
