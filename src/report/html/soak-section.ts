import type { BenchResult } from '../bench-result.js';
import { count, figure } from '../figures.js';
import type { Holdings, SoakRun, SoakSummary } from '../soak-result.js';
import type { Section } from './section.js';
import { htmlCommand, htmlTable } from './table.js';

const HELD: readonly (readonly [name: string, of: (held: Holdings) => number])[] = [
  ['descriptors of KVM, userfaultfd, memory, perf', ({ descriptors }) => descriptors],
  ['mappings of guest memory', ({ guestMappings }) => guestMappings],
  ['mappings in all', ({ mappings }) => mappings],
  ['threads', ({ threads }) => threads],
  ['resident KiB', ({ residentBytes }) => Math.round(residentBytes / 1024)],
];

export function soakSection({ summary, runs }: BenchResult<SoakRun, SoakSummary>): Section {
  const { minutes, seed, faults, pagesVerified, pagesPoisoned, before, after } = summary;
  return {
    verdicts: [
      `Clean: ${count(summary.runs)} runs in ${figure(minutes, 1)} minutes (seed ${seed}), ${count(faults)} faults, ${count(pagesVerified)} pages verified, none wrong, ${count(pagesPoisoned)} failed as told.`,
    ],
    body: [
      htmlTable(
        'What the process held after its first runs, and at the end',
        ['what', 'after the first runs', 'at the end'],
        HELD.map(([name, of]) => [name, count(of(before)), count(of(after))]),
      ),
      htmlTable(
        'Every run, by the command that makes it by itself',
        ['command', 'seconds', 'faults', 'verified', 'poisoned'],
        runs.map((run) => [
          htmlCommand(run.command),
          figure(run.seconds, 2),
          count(run.faults),
          count(run.pagesVerified),
          count(run.pagesPoisoned),
        ]),
      ),
    ],
    notMeasured: [],
    disturbed: [],
  };
}
