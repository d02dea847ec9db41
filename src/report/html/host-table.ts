import type { HostDescription } from '../../measure/host.js';
import { hostFacts } from '../host-facts.js';
import type { Markup } from './markup.js';
import { htmlTable } from './table.js';

/** The hosts of some results, a column for each that differs. */
export function hostTable(hosts: readonly { name: string; host: HostDescription }[]): Markup {
  const columns = new Map<string, { names: string[]; facts: [string, string][] }>();
  for (const { name, host } of hosts) {
    const facts = hostFacts(host);
    const key = JSON.stringify(facts);
    const column = columns.get(key) ?? { names: [], facts };
    column.names.push(name);
    columns.set(key, column);
  }
  const all = [...columns.values()];
  return htmlTable(
    'Measured on',
    [
      'host',
      ...all.map(({ names }) =>
        all.length === 1 ? 'all results' : [...new Set(names)].join(', '),
      ),
    ],
    all[0]!.facts.map(([fact], row) => [fact, ...all.map(({ facts }) => facts[row]![1])]),
    1 + all.length,
  );
}
