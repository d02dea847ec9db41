import type { DiscardMatrix } from '../memory/discard-matrix/discard-matrix.js';
import type { MailComparison } from '../memory/discard-matrix/mail-2017.js';
import { NO_FIGURE } from './figures.js';
import { describeCalls } from './matrix-calls.js';
import { explainedTable, type Legend } from './matrix-cells.js';
import { describeDiscards, summarizeDiscards } from './matrix-discards.js';
import { noteLines } from './matrix-notes.js';
import { wrapText } from './table.js';

/** The matrix for a person to read, 100 columns wide. */
export function describeDiscardMatrix(matrix: DiscardMatrix): string {
  const { host, calls, discard, mail } = matrix;
  const notes = noteLines(matrix);
  return [
    `Linux ${host.kernel}, ${host.cpus} CPUs, faultline ${host.version}`,
    heading('What each call does'),
    ...describeCalls(calls),
    ...(notes.length === 0 ? [] : [heading('Not tried, or not to be seen'), ...notes]),
    heading('What discard() does'),
    ...describeDiscards(discard),
    heading(
      'The mail of 14 March 2017 (Andrea Arcangeli, "Re: [LSF/MM TOPIC] ... hugetlb reservations")',
    ),
    ...explainedTable(MAIL_LEGEND, MAIL_HEAD, mail.map(mailRow)),
    '',
    ...conclude(matrix),
  ].join('\n');
}

function heading(text: string): string {
  return `\n${text}\n`;
}

const MAIL_LEGEND: Legend = [
  ['', 'Its "current status for anon, shmem and hugetlbfs", and what the table above says.'],
  [
    'works',
    '"works": the data is gone from the mapping, and the next touch is sure to be a missing fault',
  ],
  ['unsure', '"works but not guaranteed to fault"'],
  ['fails', '"doesn\'t work"'],
  ['empty', 'works where the file has no page there; where it has, unsure'],
  ['=, ≠, ~', "today's kernel does as was said; differs; differs in part"],
];

const MAIL_HEAD = ['', 'kind of memory', '2017', '', 'today', 'seen today'] as const;

function mailRow({ call, kind, in2017, today, seen, differs }: MailComparison): string[] {
  const mark = differs === null ? NO_FIGURE : { no: '=', partly: '~', yes: '≠' }[differs];
  const word = today === 'if-file-empty' ? 'empty' : (today ?? NO_FIGURE);
  return [call, kind, in2017, mark, word, seen];
}

/** What the run says of the mail's wish: one call for whatever memory there is. */
function conclude({ alwaysWork, discard, mail }: DiscardMatrix): string[] {
  const call =
    alwaysWork.length === 0
      ? 'None of the four calls works on all five kinds of memory.'
      : `On all five kinds of memory: ${alwaysWork.join(', ')}.`;
  const isMeasured = mail.every(({ today }) => today !== null);
  return [...(isMeasured ? [call] : []), wrapText(summarizeDiscards(discard))];
}
