import type { RunResult } from '../machine/run-result.js';
import { isDisturbed } from '../measure/other-load.js';
import type { BenchResult, Figure } from './bench-result.js';
import { standsClear } from './figures.js';
import { hostFacts } from './host-facts.js';
import { type MeasuredPoint, pointOfRun, pointsOf } from './measured-points.js';
import type { ResultFile } from './read-results.js';

/**
 * Whether a difference is larger than that between repetitions: `exceeds` where all of one result
 * are on one side of all of the other, `within` where they overlap or touch, `unknown` where either
 * was measured once.
 */
export type Noise = 'exceeds' | 'within' | 'unknown';

export interface ComparedFigure {
  readonly name: string;
  readonly decimals: number;
  readonly a: Figure;
  readonly b: Figure;
  /** Of b's median to a's; null where a's is 0, or next to nothing, and b's is not. */
  readonly percent: number | null;
  readonly noise: Noise;
}

export interface ComparedPoint {
  readonly label: string;
  readonly figures: readonly ComparedFigure[];
}

/** What is not the same in both. */
export interface Difference {
  readonly what: string;
  readonly a: string;
  readonly b: string;
}

/** Two results of one bench, or two runs. */
export interface Comparison {
  readonly heading: string;
  /** Of the host and of what was constant. */
  readonly differences: readonly Difference[];
  readonly points: readonly ComparedPoint[];
  /** Where others disturbed runs, so that a difference may be theirs: sentences. */
  readonly disturbed: readonly string[];
  /** What either has and the other has not, or has otherwise: sentences. */
  readonly leftOut: readonly string[];
}

/** What two files have in common, and why the rest cannot be compared. */
export interface Comparisons {
  readonly comparisons: readonly Comparison[];
  /** Sentences. Where there are no comparisons, why not. */
  readonly refusals: readonly string[];
}

/** Constants without which figures have nothing to do with each other. */
const MATTERS = [
  'image',
  'pages',
  'pagesPerVcpu',
  'write',
  'vcpus',
  'backing',
  'unitBytes',
  'memoryBytes',
  'order',
  'share',
  'delayMicroseconds',
  'sparseEvery',
  'writerRate',
] as const;

type Single = RunResult | BenchResult;

function singlesOf({ result }: ResultFile): { heading: string; result: Single }[] {
  switch (result.schema) {
    case 'faultline.benches/1':
      return result.results.map((bench) => ({ heading: `bench ${bench.bench}`, result: bench }));
    case 'faultline.bench/1':
      return [{ heading: `bench ${result.bench}`, result }];
    case 'faultline.run/1':
      return [{ heading: `run ${result.image}`, result }];
  }
}

/** Compares what two files have in common: a's figures, b's, and whether their difference is noise. */
export function compareResults(a: ResultFile, b: ResultFile): Comparisons {
  const [ofA, ofB] = [singlesOf(a), singlesOf(b)];
  const comparisons: Comparison[] = [];
  const refusals: string[] = [];
  for (const { heading, result } of ofA) {
    const place = ofB.findIndex((other) => other.heading === heading);
    if (place < 0) {
      refusals.push(`${heading} is in ${a.name} alone`);
      continue;
    }
    const [other] = ofB.splice(place, 1);
    const compared = compareSingles(heading, result, other!.result);
    if (typeof compared === 'string') {
      refusals.push(`${heading}: ${compared}`);
    } else {
      comparisons.push(compared);
    }
  }
  refusals.push(...ofB.map(({ heading }) => `${heading} is in ${b.name} alone`));
  return { comparisons, refusals };
}

/** The comparison, or why there is none. */
function compareSingles(heading: string, a: Single, b: Single): Comparison | string {
  if (a.schema === 'faultline.run/1' && b.schema === 'faultline.run/1') {
    return compareRuns(heading, a, b);
  }
  if (a.schema !== 'faultline.bench/1' || b.schema !== 'faultline.bench/1') {
    return 'a run and a bench have no figures in common';
  }
  const [ofA, ofB] = [pointsOf(a), pointsOf(b)];
  if (ofA === null || ofB === null) {
    return 'it has no figures to compare';
  }
  for (const name of MATTERS) {
    const [mine, other] = [constantOf(a, name), constantOf(b, name)];
    if (mine !== undefined && other !== undefined && mine !== other) {
      return `${name} is ${mine} in one and ${other} in the other, which are unlike things`;
    }
  }
  const compared = comparePoints(ofA, ofB);
  if (compared.points.length === 0) {
    return `they have no point in common (${compared.leftOut.slice(0, 4).join('; ')})`;
  }
  return {
    heading,
    ...compared,
    disturbed: [...compared.disturbed, ...disturbedRuns(a, b, [...ofA, ...ofB])],
    differences: [
      ...factDifferences(hostFacts(a.host), hostFacts(b.host)),
      ...factDifferences(constantsOf(a), constantsOf(b)),
      ...compared.differences,
    ],
  };
}

function compareRuns(heading: string, a: RunResult, b: RunResult): Comparison | string {
  const incomplete = [a, b].find(({ outcome }) => outcome !== 'completed');
  if (incomplete !== undefined) {
    return `a run that ended as ${incomplete.outcome} has no figures to compare`;
  }
  const [mine, other] = [pointOfRun(a), pointOfRun(b)];
  const why = unlike(mine, other);
  if (why !== null) {
    return why;
  }
  return {
    heading,
    differences: [
      ...factDifferences(hostFacts(a.host), hostFacts(b.host)),
      ...factDifferences(factsOf(mine.other), factsOf(other.other)),
    ],
    points: [{ label: heading, figures: compareFigures(mine, other) }],
    disturbed: disturbedPoints(heading, mine, other),
    leftOut: figuresOfOne(mine, other),
  };
}

function constantOf({ constant }: BenchResult, name: string): string | number | undefined {
  return Object.hasOwn(constant, name) ? constant[name] : undefined;
}

function constantsOf({ constant }: BenchResult): [string, string][] {
  return factsOf(constant);
}

function factsOf(facts: Readonly<Record<string, string | number>>): [string, string][] {
  return Object.entries(facts).map(([name, value]) => [name, String(value)]);
}

function factDifferences(
  a: readonly (readonly [string, string])[],
  b: readonly (readonly [string, string])[],
): Difference[] {
  const [ofA, ofB] = [new Map(a), new Map(b)];
  return [...new Set([...ofA.keys(), ...ofB.keys()])]
    .map((what) => ({ what, a: ofA.get(what) ?? 'not said', b: ofB.get(what) ?? 'not said' }))
    .filter((difference) => difference.a !== difference.b);
}

/** Why two points are not of the same thing; null if they are. */
function unlike(a: MeasuredPoint, b: MeasuredPoint): string | null {
  const [difference] = factDifferences(factsOf(a.same), factsOf(b.same));
  return difference === undefined
    ? null
    : `${difference.what} is ${difference.a} in one and ${difference.b} in the other, which are unlike things`;
}

function comparePoints(
  ofA: readonly MeasuredPoint[],
  ofB: readonly MeasuredPoint[],
): Pick<Comparison, 'points' | 'leftOut' | 'disturbed' | 'differences'> {
  const groupsOf = (points: readonly MeasuredPoint[]): number =>
    new Set(points.map(({ group }) => group)).size;
  // The only curve of each: what it is called says nothing, for names tell curves of one result apart.
  const alone = groupsOf(ofA) === 1 && groupsOf(ofB) === 1;
  const left = [...ofB];
  const points: ComparedPoint[] = [];
  const leftOut: string[] = [];
  const disturbed: string[] = [];
  const differences = new Map<string, Difference>();
  for (const mine of ofA) {
    const place = left.findIndex((other) =>
      alone ? unlike(mine, other) === null : other.label === mine.label,
    );
    const [other] = place < 0 ? [] : left.splice(place, 1);
    const why = other === undefined ? 'in A alone' : unlike(mine, other);
    if (other === undefined || why !== null) {
      leftOut.push(`${mine.label}: ${why}`);
      continue;
    }
    const label = mine.label === other.label ? mine.label : `${mine.label} and ${other.label}`;
    points.push({ label, figures: compareFigures(mine, other) });
    disturbed.push(...disturbedPoints(label, mine, other));
    leftOut.push(...figuresOfOne(mine, other).map((sentence) => `${label}: ${sentence}`));
    const group = mine.group === other.group ? mine.group : `${mine.group} and ${other.group}`;
    for (const found of factDifferences(factsOf(mine.other), factsOf(other.other))) {
      differences.set(`${group}: ${found.what}`, { ...found, what: `${group}: ${found.what}` });
    }
  }
  leftOut.push(...left.map(({ label }) => `${label}: in B alone`));
  return { points, leftOut, disturbed, differences: [...differences.values()] };
}

function disturbedPoints(label: string, a: MeasuredPoint, b: MeasuredPoint): string[] {
  return a.disturbed || b.disturbed
    ? [`${label}: ${a.disturbed ?? 0} of A's runs, ${b.disturbed ?? 0} of B's`]
    : [];
}

/** Of a bench whose points do not tell which of the runs are theirs. */
function disturbedRuns(a: BenchResult, b: BenchResult, points: readonly MeasuredPoint[]): string[] {
  const [ofA, ofB] = [a, b].map(({ runs }) => runs.filter(isDisturbed).length) as [number, number];
  return ofA + ofB > 0 && points.some(({ disturbed }) => disturbed === null)
    ? [`${ofA} of ${a.runs.length} runs of A, ${ofB} of ${b.runs.length} of B`]
    : [];
}

function compareFigures(mine: MeasuredPoint, other: MeasuredPoint): ComparedFigure[] {
  return mine.figures.flatMap(({ name, decimals, figure: a }) => {
    const b = other.figures.find((candidate) => candidate.name === name)?.figure ?? null;
    if (a === null || b === null) {
      return [];
    }
    const clear = standsClear(a, b);
    const noise = clear === null ? 'unknown' : clear ? 'exceeds' : 'within';
    const percent = a.median === b.median ? 0 : ((b.median - a.median) / a.median) * 100;
    return [{ name, decimals, a, b, percent: Number.isFinite(percent) ? percent : null, noise }];
  });
}

/** Figures that one of two points has, and not the other. */
function figuresOfOne(mine: MeasuredPoint, other: MeasuredPoint): string[] {
  const known = ({ figures }: MeasuredPoint): string[] =>
    figures.filter(({ figure }) => figure !== null).map(({ name }) => name);
  const [ofA, ofB] = [known(mine), known(other)];
  return [
    ...ofA.filter((name) => !ofB.includes(name)).map((name) => `${name} is known of A alone`),
    ...ofB.filter((name) => !ofA.includes(name)).map((name) => `${name} is known of B alone`),
  ];
}
