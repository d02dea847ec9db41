import { html, type Markup } from './markup.js';

type Cell = string | Markup;

/**
 * A table with a caption. It scrolls by itself where the page is narrower than it.
 *
 * @param leftColumns how many of the first columns are words, aligned left
 */
export function htmlTable(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  leftColumns = 1,
): Markup {
  const side = (column: number): string => (column < leftColumns ? 'word' : 'number');
  return html`<p class="caption">${caption}</p>
<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table aria-label="${caption}">
<thead><tr>${head.map((name, column) => html`<th scope="col" class="${side(column)}">${name}</th>`)}</tr></thead>
<tbody>
${rows.map(
  (row) => html`<tr>${row.map((cell, column) =>
    column === 0
      ? html`<th scope="row" class="${side(column)}">${cell}</th>`
      : html`<td class="${side(column)}">${cell}</td>`,
  )}</tr>
`,
)}</tbody></table></div>`;
}

/** Names and values. */
export function htmlFacts(facts: readonly (readonly [name: string, value: Cell])[]): Markup {
  return html`<dl>${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** Sentences, one below the other; nothing of none. */
export function htmlList(items: readonly Cell[]): Markup | null {
  return items.length === 0 ? null : html`<ul>${items.map((item) => html`<li>${item}</li>`)}</ul>`;
}

/** Longer than a narrow page is wide: to be broken anywhere. */
const LONG_WORD = 40;

/** A command line, to be copied: its lines are broken between options. */
export function htmlCommand(command: string): Markup {
  const parts = command.split(/ (?=--)/);
  return html`<code>${parts.map((part, index) => [
    index === 0 ? '' : ' ',
    part.length > LONG_WORD ? part : html`<span class="whole">${part}</span>`,
  ])}</code>`;
}
