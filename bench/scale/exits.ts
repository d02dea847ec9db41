import { EXITS_BY, type ExitBy, whyNoExit } from '../../src/machine/delivery.js';
import type { RunOptions } from '../../src/machine/machine-config.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { describeHost } from '../../src/measure/host.js';
import { BACKINGS } from '../../src/memory/backing.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import {
  countsOf,
  EXITS_HEAD,
  type ExitRow,
  type ExitRun,
  type ExitsSummary,
  exitCells,
} from '../../src/report/exits-result.js';
import { figureOf } from '../../src/report/figures.js';
import { textTable, wrapText } from '../../src/report/table.js';
import { type Bench, theOne } from './bench.js';
import { describeDisturbance } from './disturbance.js';
import { memoryFor, verifiedRun } from './verified-run.js';

interface Variant {
  readonly label: string;
  readonly options: Pick<RunOptions, 'delivery' | 'exitBy'>;
}

const DEFAULTS = { pages: 4096, repeat: 3 } as const;
/** mprotect without a pause. */
const WRITER = { threads: 1, perSecond: 1e6, calls: 'mprotect' } as const;

const exitVariant = (exitBy: ExitBy): Variant => ({
  label: `exit: ${exitBy}`,
  options: { delivery: 'exit', exitBy },
});

/** Every way that this host has, and why it has not the others. */
function variants(): { readonly had: Variant[]; readonly leftOut: ExitsSummary['leftOut'] } {
  const exits = EXITS_BY.map((exitBy) => ({
    variant: exitVariant(exitBy),
    why: whyNoExit(exitBy, BACKINGS.shmem),
  }));
  return {
    had: [
      { label: 'kernel', options: { delivery: 'kernel' } },
      { label: 'handler', options: { delivery: 'handler' } },
      ...exits.filter(({ why }) => why === null).map(({ variant }) => variant),
    ],
    leftOut: exits.flatMap(({ variant: { label }, why }) => (why === null ? [] : [{ label, why }])),
  };
}

export const exits: Bench<ExitRun, ExitsSummary> = {
  name: 'exits',
  description: 'what a fault goes through in the kernel, by each way of telling userspace of it',
  extent: `${DEFAULTS.pages} pages, ${DEFAULTS.repeat} repetitions`,
  takes: ['pages', 'repeat', 'vcpus'],

  async run(given) {
    const options = { ...DEFAULTS, ...given };
    const { pages, repeat } = options;
    const vcpus = theOne(options.vcpus, 1, 'vcpus');
    const startedAt = new Date().toISOString();
    const { had, leftOut } = variants();
    const parts: ExitRun['part'][] = [
      'counted',
      ...Array.from({ length: repeat }, () => ['timed', 'pressed'] as const).flat(),
    ];
    const runs: ExitRun[] = [];
    for (const part of parts) {
      for (const { label, options: chosen } of had) {
        options.onStep?.(runs.length, parts.length * had.length, `${label} (${part})`);
        const run = await verifiedRun({
          image: 'touch',
          memoryBytes: memoryFor(pages),
          vcpus,
          params: { pages: String(pages), write: '100' },
          countKernelEvents: part === 'counted',
          countKernelCalls: part === 'counted',
          writers: part === 'pressed' ? WRITER : null,
          ...chosen,
          ...(options.signal && { signal: options.signal }),
          ...(options.onProgress && { onProgress: options.onProgress }),
        });
        runs.push({ ...run, label, part });
      }
    }
    return {
      schema: 'faultline.bench/1',
      bench: 'exits',
      host: describeHost(),
      startedAt,
      command: `faultline bench exits --pages ${pages} --vcpus ${vcpus} --repeat ${repeat}`,
      constant: { image: 'touch', pages, write: 100, vcpus, backing: 'shmem', unitBytes: 4096 },
      runs,
      summary: { rows: had.map(({ label }) => summarizeRow(label, runs)), leftOut },
    };
  },

  describe: (result) => {
    const table = textTable([...EXITS_HEAD], result.summary.rows.map(exitCells));
    return `${table}\n\n${explain(result)}`;
  },
};

function summarizeRow(label: string, runs: readonly ExitRun[]): ExitRow {
  const of = (part: ExitRun['part']): readonly ExitRun[] =>
    runs.filter((run) => run.label === label && run.part === part);
  const [counted] = of('counted');
  const p50 = (run: RunResult): number | null => run.latencyMicroseconds?.p50 ?? null;
  return {
    label,
    ...countsOf(counted!), // every way has its counted run
    p50Microseconds: figureOf(of('timed').map(p50)),
    pressedP50Microseconds: figureOf(of('pressed').map(p50)),
    pressedMeanMicroseconds: figureOf(
      of('pressed').map(({ pagesPerSecond }) =>
        pagesPerSecond === null ? null : 1e6 / pagesPerSecond,
      ),
    ),
  };
}

function explain({ constant, runs, summary }: BenchResult<ExitRun, ExitsSummary>): string {
  const { pages, vcpus } = constant;
  const paragraphs = [
    `Each row: a KVM guest (${vcpus} vCPU${Number(vcpus) > 1 ? 's' : ''}) writes to ${pages} pages of 4 KiB that are not there yet; every page is verified in every run. Counts are per fault, of all vCPU and handler threads, from a run of its own: acquisitions of mmap_lock, calls of get_user_pages_unlocked (slow GUP) and of handle_userfault, returns of KVM_RUN that are no access to a port, context switches. p50: from an access to its completion, median over the repetitions. pressed: the same beside a thread that changes the protection of 64 MiB again and again, with mmap_lock held for write; mean: wall time by pages.`,
    ...summary.leftOut.map(({ label, why }) => `${label} is left out: ${why}.`),
  ];
  const reasons = runs.flatMap(({ part, delivery, notMeasured }) =>
    part === 'counted'
      ? ['slowGup', 'userfaults', 'mmapLockAcquisitions', 'contextSwitches'].flatMap((name) =>
          notMeasured[name] === undefined
            ? []
            : [`${name} under ${delivery.used}: ${notMeasured[name]}`],
        )
      : [],
  );
  const disturbance = describeDisturbance(runs);
  return [
    ...paragraphs.map((text) => wrapText(text)),
    ...(disturbance === null ? [] : [disturbance]),
    ...[...new Set(reasons)].map((reason) => wrapText(`Not measured: ${reason}.`)),
  ].join('\n');
}
