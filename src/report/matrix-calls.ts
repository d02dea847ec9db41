import { DISCARD_CALLS } from '../memory/discard-matrix/calls.js';
import type { HeldBytes } from '../memory/discard-matrix/held-memory.js';
import type {
  CallObservation,
  SubjectObservations,
} from '../memory/discard-matrix/observe-calls.js';
import type { Contents } from '../memory/discard-matrix/specimen.js';
import { formatSize, PAGE_BYTES } from '../memory/sizes.js';
import { NO_FIGURE } from './figures.js';
import { explainedTable, keptWord, type Legend, mergeLocks, row, yesWord } from './matrix-cells.js';

/** What each call does: a row for each call on each backing. */
export function describeCalls(calls: readonly SubjectObservations[]): string[] {
  return explainedTable(LEGEND, HEAD, calls.flatMap(callRows));
}

const LEGEND: Legend = [
  [
    '',
    'Two pages: one with data of the guest, one never touched. Each answer is an experiment of its own.',
  ],
  ['call', 'MADV_* of the guest mapping; PUNCH_HOLE is fallocate(2) of the file'],
  ['lock', 'the guest mapping is mapped, or also mlocked; both: the same for either'],
  ['errno', '0: the call succeeded'],
  ['freed', "yes, no; of a private mapping of a file: the guest's copy, the file's page, or both"],
  ['guest', 'its data afterwards: kept, zero, or file: what the file holds shows through'],
  [
    'file',
    "what is in the file, read through another mapping: kept (of private mappings, the file's own)",
  ],
  ['touch', 'the next touch of the data, to userfaultfd: missing, minor, or none: no fault at all'],
  ['poison', 'the poison marker of a page that was never mapped: kept, gone'],
  ['wp none', 'write-protection of a page that was never mapped'],
  ['wp page', 'write-protection of the page with data'],
  ['event', 'UFFD_EVENT_REMOVE was delivered'],
  [NO_FIGURE, 'not tried, or not to be seen: reasons below'],
];

const HEAD = [
  '',
  'lock',
  'errno',
  'freed',
  'guest',
  'file',
  'touch',
  'poison',
  'wp none',
  'wp page',
  'event',
] as const;

function callRows({ backing, pageBytes, calls }: SubjectObservations): string[][] {
  if (calls.length === 0) {
    return [row(HEAD.length, backing)];
  }
  const rows = DISCARD_CALLS.flatMap((call) => {
    const name = `  ${call.replace('MADV_', '')}`;
    const found = calls.filter((entry) => entry.call === call);
    return found.length === 0
      ? [row(HEAD.length, name, 'both')]
      : mergeLocks(found.map(({ lock, ...seen }) => [name, lock, ...callCells(seen)]));
  });
  const isKnown = backing.endsWith(formatSize(pageBytes)) || pageBytes === PAGE_BYTES;
  const title = isKnown ? backing : `${backing} (${formatSize(pageBytes)})`;
  return [[title, ...Array<string>(HEAD.length - 1).fill('')], ...rows];
}

function callCells(seen: Omit<CallObservation, 'lock'>): string[] {
  return [
    seen.errno ?? '0',
    freedWord(seen.freedBytes),
    contentsWord(seen.guestReads),
    seen.fileReads === 'file' ? 'kept' : contentsWord(seen.fileReads),
    seen.nextTouch ?? NO_FIGURE,
    keptWord(seen.poisonKept),
    keptWord(seen.unmappedProtectionKept),
    keptWord(seen.presentProtectionKept),
    yesWord(seen.removeEvent),
  ];
}

function freedWord({ file, own, pool }: HeldBytes): string {
  if (pool !== null || file === null || own === null) {
    return yesWord((pool ?? file ?? own ?? 0) > 0);
  }
  if (own > 0) {
    return file > 0 ? 'both' : 'copy';
  }
  return file > 0 ? 'file' : 'no';
}

function contentsWord(contents: Contents | null): string {
  switch (contents) {
    case null:
      return NO_FIGURE;
    case 'guest':
      return 'kept';
    case 'zeroes':
      return 'zero';
    case 'unreadable':
      return 'error';
    default:
      return contents;
  }
}
