import type { RunResult } from '../../machine/run-result.js';
import { isDisturbed } from '../../measure/other-load.js';
import { count, figure } from '../figures.js';
import { isRun } from '../own-runs.js';
import { commandOfRun } from '../run-command.js';
import { html, type Markup } from './markup.js';
import { htmlCommand } from './table.js';

/** A run as a bench keeps it: with what the bench has to say of it. */
interface KeptRun extends RunResult {
  readonly label?: string;
}

const HEAD = ['outcome', 'verified', 'seconds', 'pages/s', 'p50 µs', 'p99 µs', 'note'] as const;

/**
 * Every run, those of the same command line below it. Runs of which a bench keeps less than a run's
 * result are in its own tables.
 */
export function runsTable(runs: readonly unknown[]): Markup | null {
  const groups = new Map<string, KeptRun[]>();
  for (const run of runs.filter(isRun) as KeptRun[]) {
    const command = commandOfRun(run);
    groups.set(command, [...(groups.get(command) ?? []), run]);
  }
  if (groups.size === 0) {
    return null;
  }
  return html`<h3>Every run</h3>
<p>Each command line boots its guest again, by itself; the rows below it are its repetitions.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Every run"><table class="runs">
<thead><tr>${HEAD.map((name) => html`<th scope="col" class="number">${name}</th>`)}</tr></thead>
${[...groups].map(
  ([command, mine]) => html`<tbody>
<tr><th scope="rowgroup" colspan="${HEAD.length}" class="word">${htmlCommand(command)}</th></tr>
${mine.map(rowOf)}</tbody>
`,
)}</table></div>`;
}

function rowOf(run: KeptRun): Markup {
  const notes = [
    run.label,
    run.config.countKernelEvents === true ? 'counted' : null,
    isDisturbed(run) ? 'disturbed' : null,
  ].filter((note) => typeof note === 'string');
  const cells = [
    run.outcome,
    count(run.pages.verified),
    figure(run.guestSeconds, 3),
    count(run.pagesPerSecond),
    figure(run.latencyMicroseconds?.p50, 1),
    figure(run.latencyMicroseconds?.p99, 1),
    notes.join(', '),
  ];
  return html`<tr>${cells.map((cell) => html`<td class="number">${cell}</td>`)}</tr>
`;
}
