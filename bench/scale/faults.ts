import { availableParallelism, totalmem } from 'node:os';
import { UnsupportedError, UsageError } from '../../src/ffi/errors.js';
import { DELIVERIES, type DeliveryName } from '../../src/machine/delivery.js';
import { completeConfig, type Pin, type RunOptions } from '../../src/machine/machine-config.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { describeHost } from '../../src/measure/host.js';
import { mergeLatencies } from '../../src/measure/latency-histogram.js';
import { disturbanceOf } from '../../src/measure/other-load.js';
import { publishedCurves } from '../../src/measure/published-curves.js';
import { fitScaling } from '../../src/measure/scaling-law.js';
import { formatSize } from '../../src/memory/sizes.js';
import type { FaultsCurve, FaultsPoint, FaultsSummary } from '../../src/report/faults-result.js';
import { figureOf } from '../../src/report/figures.js';
import type { Bench, BenchOptions } from './bench.js';
import { describeFaults } from './faults-answer.js';
import {
  defaultVcpus,
  type FaultsChoices,
  type FaultsStep,
  type Labelled,
  planFaults,
  stepsOf,
} from './faults-plan.js';
import { memoryFor, verifiedRun } from './verified-run.js';

/** A run that counts, and which curve it belongs to. Its `config` says the rest. */
export interface FaultsRun extends RunResult {
  readonly label: string;
}

const DEFAULTS = {
  pages: 4096,
  repeat: 3,
  delivery: ['kernel', 'handler', 'exit'],
  backing: ['shmem'],
  uffds: ['one'],
  handlers: [1],
  share: ['partition'],
  order: ['sequential'],
  delayMicroseconds: 0,
} as const satisfies BenchOptions;

/** Each page is written once, as `demand_paging_test` does: the kernel maps 16 with one read. */
const WRITE_PERCENT = 100;
const WARM_UPS = 1;
/** Of a run, besides what its delay takes. */
const TIMEOUT_SECONDS = 120;

export const faults: Bench<FaultsRun, FaultsSummary> = {
  name: 'faults',
  description:
    'how faults scale with vCPUs: pages per second of each delivery, and what limits them',
  extent: `${DEFAULTS.pages} pages a vCPU, 1, 2, 4, … vCPUs up to 4 times the CPUs, ${DEFAULTS.repeat} repetitions: about a minute on two CPUs`,
  takes: [
    ...(['vcpus', 'delivery', 'backing', 'uffds', 'handlers', 'share', 'order'] as const),
    ...(['pages', 'repeat', 'delayMicroseconds', 'pin', 'reference'] as const),
  ],

  async run(given) {
    const { vcpus = defaultVcpus(availableParallelism()), pin = null, ...rest } = given;
    const options = { ...DEFAULTS, ...rest, vcpus, pin };
    if (given.handlers && !hasHandlers(options.delivery)) {
      throw new UsageError('--handlers says nothing without delivery handler');
    }
    const { repeat, pages, reference = [] } = options;
    const published = publishedCurves(reference);
    const plan = planFaults(options);
    const most = plan.vcpus.at(-1)!;
    checkRoom(pages * most);
    for (const { subject } of plan.subjects) {
      completeConfig(optionsOf({ subject, vcpus: most }, pages)); // what cannot be used is refused now
    }
    const startedAt = new Date().toISOString();
    const cpus = new Set(pin?.vcpu).size || availableParallelism();
    const steps = stepsOf(plan, repeat);
    const runs: FaultsRun[] = [];
    for (const [done, step] of steps.entries()) {
      options.onStep?.(done, steps.length, nameOfStep(step, repeat));
      const run = await verifiedRun({
        ...optionsOf(step, pages),
        ...(given.signal && { signal: given.signal }),
        ...(given.onProgress && { onProgress: given.onProgress }),
      });
      if (step.round >= WARM_UPS) {
        runs.push({ ...run, label: step.label });
      }
    }
    return {
      schema: 'faultline.bench/1',
      bench: 'faults',
      host: describeHost(),
      startedAt,
      command: commandOf({ ...options, vcpus: plan.vcpus }, reference),
      constant: {
        image: 'touch',
        pagesPerVcpu: pages,
        write: WRITE_PERCENT,
        unit: "the backing's page",
        source: 'pattern',
        cpusOfVcpus: cpus,
        delayMicroseconds: options.delayMicroseconds,
        pin: pin === null ? 'none' : nameOfPin(pin),
        repeat,
      },
      runs,
      summary: {
        curves: plan.subjects.map((labelled) => curveOf(labelled, plan.vcpus, runs, cpus)),
        published,
        leftOut: plan.leftOut,
        repeat,
        warmUps: WARM_UPS,
      },
    };
  },

  describe: describeFaults,
};

/** Guest memory is all touched, so that all of it must be there. */
function checkRoom(pages: number): void {
  const bytes = memoryFor(pages);
  if (bytes > totalmem()) {
    throw new UnsupportedError(
      `${pages} pages take ${formatSize(bytes)} of guest memory, which is more than this host has`,
      'Use fewer --pages or --vcpus.',
    );
  }
}

function nameOfStep({ label, vcpus, round }: FaultsStep, repeat: number): string {
  const which = round < WARM_UPS ? 'warm-up' : `${round} of ${repeat}`;
  return `${label}, ${vcpus} vCPU${vcpus === 1 ? '' : 's'} (${which})`;
}

function optionsOf(
  { subject, vcpus }: Pick<FaultsStep, 'subject' | 'vcpus'>,
  pages: number,
): RunOptions {
  const { delivery, backing, uffds, handlers, share, order, delayMicroseconds, pin } = subject;
  const total = pages * vcpus;
  return {
    image: 'touch',
    backing,
    delivery,
    memoryBytes: memoryFor(total),
    vcpus,
    uffds,
    ...(handlers !== 0 && { handlers: handlers ?? vcpus }),
    delayMicroseconds,
    ...(pin !== null && { pin }),
    params: { pages: String(total), write: String(WRITE_PERCENT), share, order },
    countKernelEvents: false,
    timeoutSeconds: TIMEOUT_SECONDS + Math.ceil((2 * total * delayMicroseconds) / 1e6),
  };
}

function curveOf(
  { label, subject }: Labelled,
  vcpus: readonly number[],
  runs: readonly FaultsRun[],
  cpus: number,
): FaultsCurve {
  const mine = runs.filter((run) => run.label === label);
  const measured = mine.map((run) => ({
    vcpus: run.config.vcpus,
    pagesPerSecond: run.pagesPerSecond ?? Number.NaN,
  }));
  return {
    label,
    subject,
    points: vcpus.map((count) =>
      pointOf(
        count,
        mine.filter((run) => run.config.vcpus === count),
      ),
    ),
    fit: fitScaling(measured, cpus),
  };
}

function pointOf(vcpus: number, runs: readonly FaultsRun[]): FaultsPoint {
  return {
    vcpus,
    pagesPerSecond: figureOf(runs.map((run) => run.pagesPerSecond))!, // every run is verified
    p50Microseconds: figureOf(runs.map((run) => run.latencyMicroseconds?.p50)),
    p99Microseconds: figureOf(runs.map((run) => run.latencyMicroseconds?.p99)),
    latency: mergeLatencies(runs.map((run) => run.latencyHistogram)),
    pagesVerified: Math.min(...runs.map((run) => run.pages.verified ?? 0)),
    ...disturbanceOf(runs),
  };
}

function nameOfPin({ vcpu, handler }: Pin): string {
  return [
    ...(vcpu === undefined ? [] : [`vcpu=${vcpu.join(',')}`]),
    ...(handler === undefined ? [] : [`handler=${handler.join(',')}`]),
  ].join(';');
}

function hasHandlers(deliveries: readonly DeliveryName[]): boolean {
  return deliveries.some((name) => DELIVERIES[name].handled);
}

/** All of it, so that the same can be done where defaults differ. */
function commandOf(choices: FaultsChoices, reference: readonly string[]): string {
  const { pages, repeat, delayMicroseconds, pin } = choices;
  const list = (name: string, values: readonly (string | number)[]): string =>
    `--${name} ${[...new Set(values)].join(',')}`;
  return [
    'faultline bench faults',
    list('vcpus', choices.vcpus),
    list('delivery', choices.delivery),
    list('backing', choices.backing),
    list('uffds', choices.uffds),
    ...(hasHandlers(choices.delivery) ? [list('handlers', choices.handlers)] : []),
    list('share', choices.share),
    list('order', choices.order),
    `--pages ${pages} --repeat ${repeat}`,
    ...(delayMicroseconds > 0 ? [`--delay-microseconds ${delayMicroseconds}`] : []),
    ...(pin === null ? [] : [`--pin '${nameOfPin(pin)}'`]),
    ...(reference.length > 0 ? [list('reference', reference)] : []),
  ].join(' ');
}
