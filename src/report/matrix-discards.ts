import type { HeldBytes } from '../memory/discard-matrix/held-memory.js';
import type { DiscardObservation, SubjectDiscards } from '../memory/discard-matrix/one-discard.js';
import { formatSize } from '../memory/sizes.js';
import { explainedTable, keptWord, type Legend, mergeLocks, row, yesWord } from './matrix-cells.js';

/** What discard() does: a row for each backing and unit. */
export function describeDiscards(discard: readonly SubjectDiscards[]): string[] {
  return explainedTable(LEGEND, HEAD, discard.flatMap(discardRows));
}

/** How many trials did all that discard() promises. */
export function summarizeDiscards(discard: readonly SubjectDiscards[]): string {
  const seen = discard.flatMap(({ observations }) => observations);
  const kept = seen.filter(
    (entry) =>
      freedTotal(entry.freedBytes) >= entry.unitBytes &&
      entry.nextTouchFaults &&
      entry.markerRearmed &&
      entry.contentsReturn &&
      entry.neighbourKept,
  );
  const backings = discard.filter(({ observations }) => observations.length > 0).length;
  return `discard() freed, faulted, was re-armed and came back in ${kept.length} of ${seen.length} trials on ${backings} backings.`;
}

const LEGEND: Legend = [
  [
    '',
    'One fault unit that the guest has written to, every missing page marked as for exit delivery.',
  ],
  [
    'steps',
    "the backing's: punch-hole is fallocate, remove-alias MADV_REMOVE of the alias mapping, drop-private MADV_DONTNEED_LOCKED of the guest mapping",
  ],
  ['freed', "bytes given back: the file's, the guest's private copies, the hugetlb pool's"],
  ['touch', 'the next touch of the unit faults'],
  ['marker', 'it faults by a trap marker, so that KVM gives its address'],
  ['source', "brought in again, the unit has the source's contents"],
  ['next', 'the unit next to it is as it was'],
];

const HEAD = ['', 'unit', 'lock', 'steps', 'freed', 'touch', 'marker', 'source', 'next'] as const;

function discardRows({ backing, observations }: SubjectDiscards): string[][] {
  if (observations.length === 0) {
    return [row(HEAD.length, backing)];
  }
  // The lock goes second for the merging, and third into the table.
  return mergeLocks(
    observations.map((seen) => [
      backing,
      seen.lock,
      formatSize(seen.unitBytes),
      ...discardCells(seen),
    ]),
  ).map(([name, lock, unit, ...cells]) => [name!, unit!, lock!, ...cells]);
}

function discardCells(seen: DiscardObservation): string[] {
  return [
    seen.steps.join(', '),
    formatSize(freedTotal(seen.freedBytes)),
    seen.nextTouchFaults ? 'faults' : 'no',
    yesWord(seen.markerRearmed),
    yesWord(seen.contentsReturn),
    keptWord(seen.neighbourKept),
  ];
}

function freedTotal({ file, own, pool }: HeldBytes): number {
  return pool ?? (file ?? 0) + (own ?? 0);
}
