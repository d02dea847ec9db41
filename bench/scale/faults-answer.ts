import { PREDICTED, type ScalingFit } from '../../src/measure/scaling-law.js';
import type { BenchResult, Figure } from '../../src/report/bench-result.js';
import type {
  FaultsCurve,
  FaultsSubject,
  FaultsSummary,
  PublishedCurve,
} from '../../src/report/faults-result.js';
import { count, disturbedText, figure, NO_FIGURE } from '../../src/report/figures.js';
import { textTable, wrapText } from '../../src/report/table.js';
import { describeDisturbance } from './disturbance.js';
import type { FaultsRun } from './faults.js';

type Result = BenchResult<FaultsRun, FaultsSummary>;

const WIDTH = 100;
/** Of a curve's name beside the figures of others. */
const NAME_WIDTH = 38;
const HEAD = '1,000 pages/s with vCPUs:';

/** What came out, in text: each curve with what limits it, then what all have in common. */
export function describeFaults(result: Result): string {
  const { summary } = result;
  const blocks = summary.curves.map((curve, at) => describeCurve(curve, at));
  const disturbance = describeDisturbance(result.runs);
  if (disturbance !== null) {
    blocks.unshift(wrapText(disturbance, WIDTH));
  }
  if (summary.published.length > 0) {
    blocks.push(describePublished(summary));
  }
  blocks.push(explain(result).join('\n'));
  return blocks.join('\n\n');
}

/** A, B, …: what a curve is called where there is no room for more. */
const letter = (at: number): string =>
  `${at >= 26 ? String.fromCharCode(64 + Math.floor(at / 26)) : ''}${String.fromCharCode(65 + (at % 26))}`;

function describeCurve({ label, points, fit }: FaultsCurve, at: number): string {
  const head = ['vCPUs', 'pages/s', 'range', 'p50 µs', 'p99 µs', 'verified', 'disturbed'];
  const rows = points.map((point) => [
    String(point.vcpus),
    count(Math.round(point.pagesPerSecond.median)),
    rangeOf(point.pagesPerSecond),
    figure(point.p50Microseconds?.median, 1),
    figure(point.p99Microseconds?.median, 1),
    count(point.pagesVerified),
    disturbedText(point),
  ]);
  return [
    wrapText(`${letter(at)}. ${label}`, WIDTH),
    textTable(head, rows, 0),
    ...describeFit(fit),
  ].join('\n');
}

function rangeOf({ lowest, highest, runs }: Figure): string {
  return runs === 1 ? NO_FIGURE : `${count(Math.round(lowest))} to ${count(Math.round(highest))}`;
}

function describeFit(fit: ScalingFit): string[] {
  if (!fit.fitted) {
    return [wrapText(`No fit: ${fit.why}.`, WIDTH)];
  }
  const { lambda, rSquared, measuredTo, predictions, verdict } = fit;
  const whole = (value: number): string => count(Math.round(value));
  const beyond = predictions.map(
    ({ vcpus, pagesPerSecond, low, high }) =>
      `${vcpus} vCPUs ${whole(pagesPerSecond)} (${whole(low)} to ${whole(high)})`,
  );
  const missing = PREDICTED.filter(
    (vcpus) => vcpus > measuredTo && !predictions.some((one) => one.vcpus === vcpus),
  );
  const untold =
    missing.length === 0
      ? ''
      : ` For ${missing.join(' and ')} the interval is wider than a factor of ten: none.`;
  return [
    wrapText(verdict, WIDTH),
    wrapText(
      `One vCPU by the fit: λ = ${whole(lambda.value)} (${whole(lambda.low)} to ${whole(lambda.high)}) pages/s; R² = ${rSquared.toFixed(3)}.`,
      WIDTH,
    ),
    wrapText(
      beyond.length === 0
        ? `Nothing is predicted beyond the ${measuredTo} vCPUs that were measured: its interval would be wider than a factor of ten, or the law does not describe the curve.`
        : `PREDICTED, beyond the ${measuredTo} vCPUs that were measured, pages/s: ${beyond.join('; ')}.${untold}`,
      WIDTH,
    ),
  ];
}

/** Ours and theirs by numbers of vCPUs, in tables that are no wider than a mail. */
function describePublished({ curves, published }: FaultsSummary): string {
  const rows = [
    ...curves.map(({ label, points }, at) => ({
      name: `${letter(at)}. ${label}`,
      rates: new Map(points.map(({ vcpus, pagesPerSecond }) => [vcpus, pagesPerSecond.median])),
    })),
    ...published.map(({ label, points }) => ({
      name: label,
      rates: new Map(points.map(({ vcpus, pagesPerSecond }) => [vcpus, pagesPerSecond])),
    })),
  ].map(({ name, rates }) => ({
    name: name.length > NAME_WIDTH ? `${name.slice(0, NAME_WIDTH - 1)}…` : name,
    rates,
  }));
  const counts = [...new Set(rows.flatMap(({ rates }) => [...rates.keys()]))].sort((a, b) => a - b);
  const cell = (rate: number | undefined): string =>
    rate === undefined ? NO_FIGURE : thousands(rate);
  const widest = (texts: readonly string[]): number =>
    Math.max(...texts.map((text) => text.length));
  const column = 2 + widest(rows.flatMap(({ rates }) => [...rates.values()].map(thousands)));
  const names = widest([HEAD, ...rows.map(({ name }) => name)]);
  const columns = Math.max(1, Math.floor((WIDTH - names) / column));
  const tables = [];
  for (let at = 0; at < counts.length; at += columns) {
    const some = counts.slice(at, at + columns);
    tables.push(
      textTable(
        [HEAD, ...some.map(String)],
        rows.map(({ name, rates }) => [name, ...some.map((vcpus) => cell(rates.get(vcpus)))]),
      ),
    );
  }
  return [
    'Beside what others published, on machines of theirs: shapes can be compared, heights hardly.',
    tables.join('\n\n'),
    ...verdictsOf(published),
    ...sourcesOf(published),
  ].join('\n');
}

function thousands(pagesPerSecond: number): string {
  const rate = pagesPerSecond / 1000;
  return rate >= 100 ? count(Math.round(rate)) : figure(rate, rate >= 10 ? 1 : 2);
}

/** What the law says of each; those of which it says nothing for the same reason together. */
function verdictsOf(published: readonly PublishedCurve[]): string[] {
  const fits = new Map<string, string[]>();
  for (const { label, fit } of published) {
    if (fit !== undefined) {
      const text = fit.fitted ? fit.verdict : `no fit: ${fit.why}.`;
      fits.set(text, [...(fits.get(text) ?? []), label]);
    }
  }
  return [...fits].map(([text, labels]) => wrapText(`${labels.join('; ')}: ${text}`, WIDTH, '  '));
}

function sourcesOf(published: readonly PublishedCurve[]): string[] {
  const sources = new Map(published.map(({ reference, source }) => [reference, source]));
  return [...sources].map(([reference, source]) =>
    wrapText(`${reference}: ${source}.`, WIDTH, '  '),
  );
}

function explain({ constant, summary }: Result): string[] {
  const { curves, leftOut, repeat, warmUps } = summary;
  const pages = Number(constant.pagesPerVcpu);
  const mebibytes = Number(((pages * 4096) / 2 ** 20).toFixed(2));
  const subjects = curves.map(({ subject }) => subject);
  const runs = repeat === 1 ? 'one run' : `the median of ${repeat} runs and their range`;
  const lines = [
    `Held constant: the touch guest, ${count(pages)} pages of 4 KiB (${mebibytes} MiB) for each vCPU, every page written once, a fault unit of the backing's page, ${sameInAll(subjects).join(', ')}, ${pinning(String(constant.pin))}. Kernel events are not counted meanwhile.`,
    `Each figure: ${runs}, the subjects in turn (A B C, then backwards), after ${warmUps} warm-up round that is left out. Every run verified every page it touched, and that its counters agree.`,
    "pages/s: distinct pages by the time from the first vCPU's entry to the last one's end. p50, p99: from an access to its completion by the guest's TSC.",
    `The law: λN / (1 + σ(N - 1) + κN(N - 1)) fitted to all runs, intervals of 95 %. CPUs that vCPUs may run on: ${constant.cpusOfVcpus}.`,
  ];
  if (subjects.some(({ share }) => share === 'overlap')) {
    lines.push(
      'overlap: each vCPU touches all pages, those of the others too, so that N vCPUs touch each page N times; pages/s counts it once.',
    );
  }
  if (subjects.some(({ delivery }) => delivery === 'kernel')) {
    lines.push('kernel: pages are in the page cache beforehand; nothing is trapped: the floor.');
  }
  if (subjects.some(({ backing }) => backing.startsWith('hugetlb'))) {
    lines.push(
      'hugetlb: one fault brings in a whole huge page, so that nearly all accesses that are timed find their page there.',
    );
  }
  const reasons = new Map<string, string[]>();
  for (const { label, reason } of leftOut) {
    reasons.set(reason, [...(reasons.get(reason) ?? []), label]);
  }
  for (const [reason, labels] of reasons) {
    lines.push(`Left out: ${labels.join('; ')}: ${reason.replace(/\.?$/, '.')}`);
  }
  return lines.map((line) => wrapText(line, WIDTH, '  '));
}

/** What the curves are not called by: all of them have it. */
function sameInAll(subjects: readonly FaultsSubject[]): string[] {
  const trapped = subjects.filter(({ delivery }) => delivery !== 'kernel');
  const handled = subjects.filter(({ delivery }) => delivery === 'handler');
  const same = <Value>(
    among: readonly FaultsSubject[],
    pick: (subject: FaultsSubject) => Value,
    name: (value: Value) => string,
  ): string[] => {
    const values = [...new Set(among.map(pick))];
    return values.length === 1 ? [name(values[0]!)] : [];
  };
  return [
    ...same(
      subjects,
      ({ backing }) => backing,
      (backing) => backing,
    ),
    ...same(
      subjects,
      ({ share }) => share,
      (share) => share,
    ),
    ...same(
      subjects,
      ({ order }) => order,
      (order) => `${order} order`,
    ),
    ...same(
      trapped,
      ({ uffds }) => uffds,
      (uffds) => (uffds === 'one' ? 'one userfaultfd' : 'a userfaultfd for each vCPU'),
    ),
    ...same(
      handled,
      ({ handlers }) => handlers,
      (handlers) =>
        handlers === null
          ? 'a handler for each vCPU'
          : `${handlers} handler${handlers === 1 ? '' : 's'}`,
    ),
    ...same(
      subjects,
      ({ delayMicroseconds }) => delayMicroseconds,
      (delay) => (delay === 0 ? 'no delay' : `every page ${delay} µs later`),
    ),
  ];
}

function pinning(pin: string): string {
  return pin === 'none' ? 'no thread pinned to a CPU' : `threads pinned (${pin})`;
}
