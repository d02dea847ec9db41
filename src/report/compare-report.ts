import type { Figure } from './bench-result.js';
import type { ComparedFigure, Comparison, Comparisons, Noise } from './compare.js';
import { chanceToStandClear, count, figure, NO_FIGURE } from './figures.js';
import { textTable, wrapText } from './table.js';
import { visible } from './visible-text.js';

const COLUMNS = 100;

const NOISE: Readonly<Record<Noise, string>> = {
  exceeds: 'exceeds',
  within: 'within',
  unknown: 'not known',
};

/** Over those that were. */
export const DISTURBED =
  'Other processes used more than a tenth of a CPU meanwhile: a difference may be theirs.';

const line = (text: string): string => visible(text).replace(/\s+/g, ' ');

/** Two results side by side, in text. */
export function describeComparisons(
  { comparisons, refusals }: Comparisons,
  names: readonly [a: string, b: string],
): string {
  return [
    wrapText(`A: ${line(names[0])}`, COLUMNS),
    wrapText(`B: ${line(names[1])}`, COLUMNS),
    ...comparisons.map((comparison) => `\n${describeComparison(comparison)}`),
    ...(refusals.length === 0 ? [] : ['', 'Not compared:', ...listed(refusals)]),
  ].join('\n');
}

function describeComparison({
  heading,
  differences,
  points,
  disturbed,
  leftOut,
}: Comparison): string {
  const rows = points.flatMap(({ label, figures }) => [
    [shorten(line(label), 44)],
    ...figures.map((compared) => [
      `  ${compared.name}`,
      medianText(compared, compared.a),
      spreadText(compared.a),
      medianText(compared, compared.b),
      spreadText(compared.b),
      percentText(compared),
      NOISE[compared.noise],
    ]),
  ]);
  return [
    wrapText(line(heading), COLUMNS),
    '',
    ...(differences.length === 0
      ? ['Host and constants are the same in both.']
      : [
          'What differs:',
          ...listed(differences.map(({ what, a, b }) => `${what}: ${a} in A, ${b} in B`)),
        ]),
    '',
    textTable(['', 'A', 'range', 'B', 'range', 'B to A', 'noise'], rows),
    '',
    ...verdictsOf(points.flatMap(({ figures }) => figures)).map((text) => wrapText(text, COLUMNS)),
    ...(disturbed.length === 0 ? [] : [DISTURBED, ...listed(disturbed)]),
    ...(leftOut.length === 0 ? [] : ['Left out:', ...listed(leftOut)]),
  ].join('\n');
}

/** How much of it is more than noise, in sentences. */
export function verdictsOf(figures: readonly ComparedFigure[]): string[] {
  const of = (noise: Noise): number =>
    figures.filter((compared) => compared.noise === noise).length;
  const known = figures.length - of('unknown');
  return [
    ...(known === 0
      ? []
      : [
          `In ${of('exceeds')} of ${known} figures the difference exceeds the noise${byChance(figures)}. It exceeds it where every repetition of one is on the same side of every repetition of the other. In ${of('within')} their ranges overlap or touch.`,
        ]),
    ...(known === figures.length
      ? []
      : [
          `Of ${figures.length - known} figures the noise is not known: one of the two was measured once.`,
        ]),
  ];
}

/** How many would between equal things, which is what the count is to be held against. */
function byChance(figures: readonly ComparedFigure[]): string {
  const known = figures.filter(({ noise }) => noise !== 'unknown');
  const expected = known.reduce((sum, { a, b }) => sum + chanceToStandClear(a, b), 0);
  const text = `of ${known.length} would`;
  if (expected < 0.5) {
    return `; of two equal things hardly any ${text}`;
  }
  const few = expected / known.length > 0.05 ? ', with so few runs (--repeat)' : '';
  return `; of two equal things about ${count(Math.round(expected))} ${text}${few}`;
}

function medianText({ decimals }: ComparedFigure, { median }: Figure): string {
  return median.toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

/** How far repetitions were from the median, at most. */
function spreadText({ median, lowest, highest, runs }: Figure): string {
  const most = Math.max(highest - median, median - lowest);
  return runs < 2 || median === 0 ? NO_FIGURE : `±${figure((most / median) * 100, 0)}%`;
}

/** `+12.3%` */
export function percentText({ percent }: ComparedFigure): string {
  return percent === null ? NO_FIGURE : `${percent < 0 ? '' : '+'}${figure(percent, 1)}%`;
}

function listed(texts: readonly string[]): string[] {
  return texts.map((text) => `  ${wrapText(shorten(line(text), 400), COLUMNS - 2, '    ')}`);
}

function shorten(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}
