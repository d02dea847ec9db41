import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { GuestError, UnsupportedError } from '../../src/ffi/errors.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { describeHost } from '../../src/measure/host.js';
import { figure, median } from '../../src/report/figures.js';
import type { Measured, OverheadRow, Pair } from '../../src/report/overhead-result.js';
import { textTable } from '../../src/report/table.js';
import type { Bench } from './bench.js';
import { describeDisturbance } from './disturbance.js';
import { memoryFor, verifiedRun } from './verified-run.js';

const DEFAULTS = { pages: 16384, repeat: 7 } as const;
const REFERENCE = fileURLToPath(new URL('../reference/fault-loops', import.meta.url));
const GUEST = fileURLToPath(new URL('../../guest-images/touch.elf', import.meta.url));

/** What the C program prints; bench/reference/README.md. */
interface ReferenceResult {
  readonly wallSeconds: number;
  readonly faults: number;
  readonly verified: number;
  readonly mismatches: number;
}

const TARGETS: Readonly<Record<Measured, number>> = { exit: 1.05, handler: 1.15 };

export const overhead: Bench<Pair, readonly OverheadRow[]> = {
  name: 'overhead',
  description: 'the fault loops in TypeScript against the same loops in C, in alternating pairs',
  extent: `${DEFAULTS.pages} pages, ${DEFAULTS.repeat} pairs`,
  takes: ['pages', 'repeat'],

  async run(given) {
    const options = { ...DEFAULTS, ...given };
    const { pages, repeat, signal } = options;
    const startedAt = new Date().toISOString();
    const runs: Pair[] = [];
    const kinds: readonly Measured[] = ['exit', 'handler'];
    const total = (repeat + 1) * kinds.length;
    let done = 0;
    for (let round = 0; round <= repeat; round++) {
      for (const delivery of kinds) {
        const name =
          round === 0 ? `${delivery}, warm-up` : `${delivery}, pair ${round} of ${repeat}`;
        options.onStep?.(done++, total, name);
        const pair = await runPair(delivery, pages, round % 2 === 0, signal);
        if (round > 0) {
          runs.push(pair);
        }
      }
    }
    return {
      schema: 'faultline.bench/1',
      bench: 'overhead',
      host: describeHost(),
      startedAt,
      command: `faultline bench overhead --pages ${pages} --repeat ${repeat}`,
      constant: { image: 'touch', pages, write: 0, vcpus: 1, backing: 'shmem', cpu: 0 },
      runs,
      summary: kinds.map((delivery) => summarizePairs(delivery, runs)),
    };
  },

  describe: (result) => {
    const head = [
      'delivery',
      'pairs',
      'TypeScript / C',
      'range',
      'target',
      'user µs/fault',
      'alloc µs/fault',
    ];
    const rows = result.summary.map((row) => [
      row.delivery,
      String(row.pairs),
      figure(row.ratio, 2),
      `${figure(row.lowest, 2)} to ${figure(row.highest, 2)}`,
      figure(TARGETS[row.delivery], 2),
      figure(row.userMicroseconds, 2),
      figure(row.allocateMicroseconds, 2),
    ]);
    const disturbance = describeDisturbance(result.runs);
    return [
      textTable(head, rows),
      '',
      `Median ratio of the time the same guest takes for ${result.constant.pages} faults, over pairs run in turn`,
      '(a warm-up pair is left out), all threads on CPU 0. Every run of both verified its memory.',
      "user: the median of TypeScript's time per fault outside system calls, in every sixteenth fault,",
      'the cost of reading the clock taken off. alloc: the kernel allocating the page, in a fault of the',
      'alias mapping, likewise.',
      ...result.summary.map(judgement),
      ...(disturbance === null ? [] : [disturbance]),
    ].join('\n');
  },
};

/** Whether the target is met, as far as the pairs tell. */
function judgement({ delivery, ratio, lowest, highest }: OverheadRow): string {
  const target = TARGETS[delivery];
  const met = ratio !== null && ratio <= target ? 'met' : 'missed';
  const sure =
    lowest > target || highest <= target ? 'by all pairs' : 'by the median; pairs differ';
  return `Target of ${delivery}: ${met} ${sure}.`;
}

async function runPair(
  delivery: Measured,
  pages: number,
  cFirst: boolean,
  signal: AbortSignal | undefined,
): Promise<Pair> {
  let c: ReferenceResult | null = cFirst ? await runC(delivery, pages, signal) : null;
  const typescript = await runTypeScript(delivery, pages, signal);
  c ??= await runC(delivery, pages, signal);
  const typescriptSeconds = typescript.guestSeconds!;
  return {
    delivery,
    typescriptSeconds,
    cSeconds: c.wallSeconds,
    ratio: typescriptSeconds / c.wallSeconds,
    userMicroseconds: typescript.perFault.userMicroseconds,
    allocateMicroseconds: typescript.perFault.allocateMicroseconds,
    resolveP50Microseconds: typescript.resolveMicroseconds?.p50 ?? null,
    pagesVerified: (typescript.pages.verified ?? 0) + c.verified,
    otherCpus: typescript.otherCpus,
  };
}

function runTypeScript(
  delivery: Measured,
  pages: number,
  signal: AbortSignal | undefined,
): Promise<RunResult> {
  return verifiedRun({
    image: 'touch',
    delivery,
    memoryBytes: memoryFor(pages),
    params: { pages: String(pages) },
    pin: { vcpu: [0], handler: [0] },
    countKernelEvents: false, // as in C
    ...(signal && { signal }),
  });
}

async function runC(
  delivery: Measured,
  pages: number,
  signal: AbortSignal | undefined,
): Promise<ReferenceResult> {
  const args = [
    ...['--guest', GUEST, '--delivery', delivery, '--memory', String(memoryFor(pages))],
    ...['--pages', String(pages), '--pin-vcpu', '0', '--pin-handler', '0'],
  ];
  let stdout: string;
  try {
    ({ stdout } = await promisify(execFile)(REFERENCE, args, {
      timeout: 120_000,
      ...(signal && { signal }),
    }));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new UnsupportedError(
        'the C reference is not built',
        'Run make build in a checkout: it needs gcc.',
        { cause: error },
      );
    }
    if (signal?.aborted) {
      throw new GuestError('the bench was interrupted', '', { cause: error });
    }
    throw new GuestError(`the C reference failed under delivery ${delivery}`, '', { cause: error });
  }
  const result = JSON.parse(stdout) as ReferenceResult;
  if (result.verified !== pages || result.mismatches !== 0) {
    throw new GuestError(`the C reference verified ${result.verified} of ${pages} pages`);
  }
  return result;
}

function summarizePairs(delivery: Measured, runs: readonly Pair[]): OverheadRow {
  const pairs = runs.filter((pair) => pair.delivery === delivery);
  const ratios = pairs.map(({ ratio }) => ratio);
  return {
    delivery,
    pairs: pairs.length,
    ratio: median(ratios),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
    userMicroseconds: median(pairs.map(({ userMicroseconds }) => userMicroseconds)),
    allocateMicroseconds: median(pairs.map(({ allocateMicroseconds }) => allocateMicroseconds)),
  };
}
