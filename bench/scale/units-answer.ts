import { formatSize } from '../../src/memory/sizes.js';
import type { BenchResult, Figure } from '../../src/report/bench-result.js';
import { count, figure, NO_FIGURE } from '../../src/report/figures.js';
import { textTable } from '../../src/report/table.js';
import {
  type Best,
  METRICS,
  type Metric,
  type UnitRun,
  type UnitsRow,
  type UnitsSummary,
} from '../../src/report/units-result.js';
import {
  describeNetwork,
  describeRate,
  type Network,
  nameOfNetwork,
} from '../../src/source/network-link.js';
import { describeDisturbance } from './disturbance.js';
import { type Contest, contestOver, type Loss } from './units-contest.js';

type Result = BenchResult<UnitRun, UnitsSummary>;

const METRIC_LABELS: Readonly<Record<Metric, string>> = {
  dense: 'dense, µs/page',
  sparse: 'sparse, µs/page',
  firstInstruction: 'first instruction, µs',
};

const METRIC_NAMES: Readonly<Record<Metric, string>> = {
  dense: 'dense access',
  sparse: 'sparse access',
  firstInstruction: 'the first instruction',
};

/** Tables, what they show, and where the best unit lies; all of it from the result. */
export function describeUnits(result: Result): string {
  const { summary } = result;
  return [
    ...summary.networks.flatMap((network) => [
      `Over ${describeNetwork(network)}:`,
      tableOf(summary, network),
      '',
    ]),
    ...explain(result),
    '',
    ...answer(result),
  ].join('\n');
}

function tableOf({ units, rows }: UnitsSummary, network: Network): string {
  const head = ['', ...units.map(formatSize), 'best', `to ${formatSize(units[0]!)}`, 'range'];
  const mine = rows.filter((row) => row.network === nameOfNetwork(network));
  const cells = METRICS.flatMap((metric) => [
    [METRIC_LABELS[metric], ...head.slice(1).map(() => '')],
    ...mine.filter((row) => row.metric === metric).map(cellsOf),
  ]);
  return textTable(head, cells);
}

function cellsOf({ backing, figures, best }: UnitsRow): string[] {
  return [
    `  ${backing}`,
    ...figures.map((one) => microseconds(one)),
    nameOfBest(best),
    figure(best?.ratio, 2),
    rangeOf(figures),
  ];
}

function microseconds(one: Figure | null): string {
  return one !== null && one.median >= 1000
    ? count(Math.round(one.median))
    : figure(one?.median, 1);
}

function nameOfBest(best: Best | null): string {
  return best === null ? NO_FIGURE : best.amongst.map(formatSize).join('/');
}

/** The widest of a row, from its middle: ±10 %. */
function rangeOf(figures: readonly (Figure | null)[]): string {
  const widest = Math.max(
    ...figures.map((one) => (one === null ? 0 : (one.highest - one.lowest) / 2 / one.median)),
  );
  return `±${(widest * 100).toFixed(0)}%`;
}

function explain({ constant, summary, runs }: Result): string[] {
  const { repeat, sparseEvery, sourceMicrosecondsPerPage } = constant;
  const deliveries = [...new Set(runs.map(({ delivery }) => delivery.used))].join(' and ');
  const pattern = Number(sourceMicrosecondsPerPage);
  const lines = [
    `Each figure: a KVM guest with one vCPU reads memory that comes over an imitated network, delivery`,
    `${deliveries}; the median of ${times(Number(repeat), 'run')}, each of which verified its memory. range: the widest of the row.`,
    '  dense              every page in the order of addresses; µs of the whole run per page touched',
    `  sparse             one page in ${sparseEvery}, in random order; likewise per page touched`,
    "  first instruction  from an access that faults to the instruction after it, by the guest's TSC,",
    '                     the median over the faults of the dense runs; to 1 part in 16',
    'best: the unit with the lowest median; several where their ranges overlap, and none of them can be',
    'named best. Its figure to that of the smallest unit stands behind it.',
    `A page's contents take ${pattern.toFixed(1)} µs to make, meanwhile: no network here is faster than ${((4096 * 8) / pattern / 1000).toFixed(0)} Gbit/s.`,
    "The networks' latencies are assumptions: see --network.",
  ];
  const disturbance = describeDisturbance(runs);
  if (disturbance !== null) {
    lines.push(disturbance);
  }
  for (const reason of new Set(summary.subjects.map(({ refusal }) => refusal))) {
    if (reason !== null) {
      const names = summary.subjects.filter(({ refusal }) => refusal === reason);
      lines.push(`${NO_FIGURE}  ${names.map(({ backing }) => backing).join(', ')}: ${reason}.`);
    }
  }
  for (const { backing, reason } of summary.leftOut) {
    lines.push(`Left out: ${backing}: ${reason.replace(/\.?$/, '.')}`);
  }
  return lines.flatMap(wrap);
}

/**
 * Whether large units pay, as was asked when they were proposed for anonymous memory and shmem
 * (linux-mm, November 2017), and was left to be tried.
 */
function answer({ summary, constant }: Result): string[] {
  const contests = summary.networks
    .map((network) => contestOver(summary, network))
    .filter((contest) => contest !== null);
  const [one] = contests;
  if (one === undefined) {
    return ['Where the best unit lies cannot be said: no backing was measured with several units.'];
  }
  const smallest = formatSize(one.smallest.unitBytes);
  const largest = formatSize(one.largest.unitBytes);
  return [
    `Is a unit of ${largest} worth it, and is ${smallest} the right default where the network is slow?`,
    ...wrap(
      `How many times as long as ${smallest} ${largest} takes; how many times as long as the best unit each takes where it is at its worst; and the unit for which that is least. Medians over the backings that can have all units.`,
    ),
    textTable(
      [
        'network',
        ...['dense', 'sparse', 'first instr.'],
        ...[`${smallest} at worst`, `${largest} at worst`, 'least of all'],
      ],
      contests.map(({ network, ratios, ...losses }) => [
        describeRate(network),
        ...METRICS.map((metric) => factor(ratios[metric])),
        factor(losses.smallest.factor),
        factor(losses.largest.factor),
        `${formatSize(losses.compromise.unitBytes)}, ${factor(losses.compromise.factor)}`,
      ]),
    ),
    ...wrap(METRICS.map((metric) => verdict(contests, metric, largest, smallest)).join(' ')),
    ...wrap(
      `If one unit must do for all three, it is ${contests
        .map(
          ({ network, compromise }) =>
            `${formatSize(compromise.unitBytes)} over ${describeRate(network)}`,
        )
        .join(', ')}. ` +
        `It is ${largest} over ${wonBy(contests, ({ largest }) => largest)}, and ${smallest} over ${wonBy(contests, ({ smallest }) => smallest)}.`,
    ),
    ...wrap(certainty(summary.rows, Number(constant.repeat))),
  ];
}

/** How the largest unit compares with the smallest, over all networks. */
function verdict(
  contests: readonly Contest[],
  metric: Metric,
  largest: string,
  smallest: string,
): string {
  const ratios = contests.map((contest) => contest.ratios[metric]);
  const faster = contests.filter((contest) => contest.ratios[metric] < 1);
  const span = [...new Set([Math.min(...ratios), Math.max(...ratios)].map(factor))].join(' to ');
  return `For ${METRIC_NAMES[metric]} ${largest} takes ${span} times as long as ${smallest}: it is faster over ${namesOf(faster, contests.length)}.`;
}

/** Over which networks this unit is the one that loses least. */
function wonBy(contests: readonly Contest[], pick: (contest: Contest) => Loss): string {
  const won = contests.filter(
    (contest) => pick(contest).unitBytes === contest.compromise.unitBytes,
  );
  return namesOf(won, contests.length);
}

function namesOf(contests: readonly Contest[], outOf: number): string {
  if (contests.length === 0) {
    return 'none of them';
  }
  return contests.length === outOf
    ? 'all of them'
    : contests.map(({ network }) => describeRate(network)).join(', ');
}

function certainty(rows: readonly UnitsRow[], repeat: number): string {
  const contested = rows.filter(({ best }) => best !== null);
  const open = contested.filter(({ best }) => best!.amongst.length > 1);
  if (repeat === 1) {
    return 'Every figure is from one run: how much they vary is not known (--repeat).';
  }
  return open.length === 0
    ? `In each of the ${contested.length} rows the best unit stands clear of the others.`
    : `In ${open.length} of ${contested.length} rows no best unit can be named, for ranges overlap.`;
}

/** A ratio to two significant digits, or three from 100 on. */
function factor(ratio: number): string {
  if (ratio >= 9.95) {
    return ratio.toFixed(0);
  }
  return ratio.toFixed(ratio >= 0.995 ? 1 : 2);
}

function times(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

const WIDTH = 100;

/** Lines of at most {@link WIDTH} characters. */
function wrap(text: string): string[] {
  if (text.length <= WIDTH) {
    return [text];
  }
  const end = text.lastIndexOf(' ', WIDTH);
  return end <= 0 ? [text] : [text.slice(0, end), ...wrap(text.slice(end + 1))];
}
