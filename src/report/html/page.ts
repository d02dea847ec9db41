import type { RunResult } from '../../machine/run-result.js';
import { packageVersion } from '../../measure/host.js';
import { isDisturbed } from '../../measure/other-load.js';
import type { BenchResult } from '../bench-result.js';
import type { ContentionSummary } from '../contention-result.js';
import type { DeliveryRow, LabelledRun } from '../deliveries-result.js';
import type { ExitRun, ExitsSummary } from '../exits-result.js';
import type { FaultsSummary } from '../faults-result.js';
import type { MicroFigure } from '../micro-result.js';
import type { OverheadRow, Pair } from '../overhead-result.js';
import type { ResultFile } from '../read-results.js';
import { commandOfRun } from '../run-command.js';
import type { SoakRun, SoakSummary } from '../soak-result.js';
import type { UnitRun, UnitsSummary } from '../units-result.js';
import { verifiedText } from '../verified-pages.js';
import { contentionSection } from './contention-section.js';
import { deliveriesSection } from './deliveries-section.js';
import { exitsSection } from './exits-section.js';
import { faultsSection } from './faults-section.js';
import { hostTable } from './host-table.js';
import { html, type Markup, trusted } from './markup.js';
import { microSection } from './micro-section.js';
import { overheadSection } from './overhead-section.js';
import { runSection } from './run-section.js';
import { runsTable } from './runs-table.js';
import type { Section } from './section.js';
import { soakSection } from './soak-section.js';
import { STYLESHEET } from './stylesheet.js';
import { htmlCommand, htmlFacts, htmlList } from './table.js';
import { unitsSection } from './units-section.js';

/** What each bench has to show; its schema has made sure of what it is. */
const SECTIONS = new Map<string, (result: BenchResult) => Section>([
  ['faults', (result) => faultsSection(result as BenchResult<unknown, FaultsSummary>)],
  ['contention', (result) => contentionSection(result as BenchResult<unknown, ContentionSummary>)],
  [
    'deliveries',
    (result) => deliveriesSection(result as BenchResult<LabelledRun, readonly DeliveryRow[]>),
  ],
  ['exits', (result) => exitsSection(result as BenchResult<ExitRun, ExitsSummary>)],
  ['overhead', (result) => overheadSection(result as BenchResult<Pair, readonly OverheadRow[]>)],
  ['micro', (result) => microSection(result as BenchResult<MicroFigure, readonly MicroFigure[]>)],
  ['units', (result) => unitsSection(result as BenchResult<UnitRun, UnitsSummary>)],
  ['soak', (result) => soakSection(result as BenchResult<SoakRun, SoakSummary>)],
]);

/** A run or a bench, wherever it came from. */
interface Entry {
  readonly name: string;
  readonly heading: string;
  readonly result: RunResult | BenchResult;
}

function entriesOf({ name, result }: ResultFile): Entry[] {
  switch (result.schema) {
    case 'faultline.benches/1':
      return result.results.map((bench) => ({
        name,
        heading: `bench ${bench.bench}`,
        result: bench,
      }));
    case 'faultline.bench/1':
      return [{ name, heading: `bench ${result.bench}`, result }];
    case 'faultline.run/1':
      return [{ name, heading: `run ${result.image}, ${result.delivery.used}`, result }];
  }
}

/**
 * The report: one HTML page that needs nothing but itself, no script either.
 *
 * @param before what comes before the results: a comparison
 */
export function reportPage(files: readonly ResultFile[], before: Markup | null = null): string {
  const entries = files.flatMap(entriesOf);
  const title = [...new Set(entries.map(({ heading }) => heading))].join('; ');
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>faultline: ${title}</title>
<style>${trusted(STYLESHEET)}</style>
</head>
<body>
<main>
<header>
<h1>faultline report</h1>
${
  entries.length < 2
    ? null
    : html`<nav aria-label="Results"><ul>${entries.map(
        ({ name, heading }, index) =>
          html`<li><a href="#result-${index + 1}">${heading}</a> (${name})</li>`,
      )}</ul></nav>`
}
${hostTable(entries.map(({ name, result }) => ({ name, host: result.host })))}
</header>
${leftOutOf(files)}
${before}
${entries.map(sectionOf)}
<footer><p>Drawn by faultline ${packageVersion()} from ${files.map(({ name }) => name).join(', ')}. ${verifiedText(entries.map(({ result }) => result))}</p></footer>
</main>
</body>
</html>
`;
  return page.text;
}

/** Benches of a set that its host, or its installation, could not do. */
function leftOutOf(files: readonly ResultFile[]): Markup | null {
  const reasons = files.flatMap(({ name, result }) =>
    result.schema === 'faultline.benches/1'
      ? (result.leftOut ?? []).map(({ bench, reason }) => `${name}: bench ${bench}: ${reason}`)
      : [],
  );
  return reasons.length === 0 ? null : html`<p>Left out:</p>${htmlList(reasons)}`;
}

function sectionOf({ name, heading, result }: Entry, index: number): Markup {
  const bench = result.schema === 'faultline.bench/1' ? result : null;
  const section = bench === null ? runSection(result as RunResult) : sectionOfBench(bench);
  const runs = bench === null ? [result] : bench.runs;
  const command = bench === null ? commandOfRun(result as RunResult) : bench.command;
  const disturbed = [
    ...section.disturbed,
    ...(section.disturbed.length === 0 && runs.some(isDisturbed)
      ? [`${runs.filter(isDisturbed).length} of ${runs.length} runs`]
      : []),
  ];
  return html`<section id="result-${index + 1}">
<h2>${heading}</h2>
${htmlFacts([
  ['file', name],
  ...(bench === null
    ? []
    : ([
        ['started', bench.startedAt],
        ['the same in all runs', constantsOf(bench)],
      ] as const)),
])}
${htmlList(section.verdicts)}
${section.body}
<h3>How to reproduce</h3>
<pre>${htmlCommand(command)}</pre>
<h3>What was not measured</h3>
${htmlList(section.notMeasured) ?? html`<p>Nothing was left out.</p>`}
<h3>Disturbed by others</h3>
${
  disturbed.length === 0
    ? html`<p>No run says that other processes used more than a tenth of a CPU meanwhile.</p>`
    : html`<p>Other processes used more than a tenth of a CPU during these:</p>${htmlList(disturbed)}`
}
${bench === null ? null : runsTable(runs)}
</section>
`;
}

function constantsOf({ constant }: BenchResult): string {
  return Object.entries(constant)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}

function sectionOfBench(result: BenchResult): Section {
  const known = SECTIONS.get(result.bench);
  return (
    known?.(result) ?? {
      verdicts: [
        `This version of faultline does not know the bench ${result.bench}: its runs are below, its summary is in the file alone.`,
      ],
      body: [],
      notMeasured: [],
      disturbed: [],
    }
  );
}
