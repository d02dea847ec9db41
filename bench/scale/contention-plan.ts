import { UsageError } from '../../src/ffi/errors.js';
import { DELIVERIES, type DeliveryName } from '../../src/machine/delivery.js';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { whyRefused } from '../../src/machine/refusals.js';
import { DEFAULT_WRITES_PER_SECOND, MAX_WRITERS } from '../../src/machine/writers.js';
import type { BackingName } from '../../src/memory/backing.js';
import { findBacking } from '../../src/memory/open-backing.js';
import { type BenchChoices, theOne } from './bench.js';
import { memoryFor } from './verified-run.js';

/** What is the same in all runs, and what differs. */
export interface ContentionPlan {
  /** That each vCPU touches. */
  readonly pages: number;
  readonly repeat: number;
  readonly vcpus: number;
  readonly handlers: number;
  readonly uffds: 'one' | 'per-vcpu';
  readonly backing: BackingName;
  readonly writerRate: number;
  readonly variants: readonly Variant[];
  /** To be had again by. */
  readonly command: string;
}

/** A row of the tables. */
export interface Variant {
  /** `exit`, `handler, 2 writers` */
  readonly label: string;
  readonly delivery: DeliveryName;
  readonly writers: number;
}

/**
 * What a run is for: its times; its counts, which cost time; its waits for and holds of mmap_lock,
 * which cost more.
 */
export const PARTS = ['timed', 'counted', 'traced'] as const;
export type Part = (typeof PARTS)[number];

export const DEFAULTS = {
  pages: 1024,
  repeat: 3,
  vcpus: 2,
  delivery: ['kernel', 'handler', 'exit'],
  writers: [0, 2],
  writerRate: DEFAULT_WRITES_PER_SECOND,
} as const satisfies BenchChoices | { vcpus: number };

/** @throws UsageError for what cannot be compared, or cannot be had */
export function planContention(choices: BenchChoices): ContentionPlan {
  const { pages = DEFAULTS.pages, repeat = DEFAULTS.repeat, pin } = choices;
  const vcpus = theOne(choices.vcpus, DEFAULTS.vcpus, 'vcpus');
  const backing = theOne<BackingName>(choices.backing, 'shmem', 'backing');
  const uffds = theOne(choices.uffds, 'one', 'uffds');
  const handlersWanted = theOne(choices.handlers, 1, 'handlers');
  const handlers = handlersWanted === 'vcpus' ? vcpus : handlersWanted;
  const deliveries = [...new Set(choices.delivery ?? DEFAULTS.delivery)];
  const writers = [...new Set<number>(choices.writers ?? DEFAULTS.writers)];
  const writerRate = choices.writerRate ?? DEFAULTS.writerRate;
  if (choices.writerRate !== undefined && writers.every((threads) => threads === 0)) {
    throw new UsageError('--writer-rate says nothing without writers', 'Add --writers 0,2.');
  }
  const most = Math.max(...writers);
  if (most > MAX_WRITERS) {
    throw new UsageError(`--writers ${most} is more than ${MAX_WRITERS}`);
  }
  for (const delivery of deliveries) {
    const refusal = whyRefused(findBacking(backing), { delivery });
    if (refusal !== null) {
      throw new UsageError(
        `${refusal.flag} ${delivery} cannot be had of --backing ${backing}: ${refusal.reason}`,
        'Choose the deliveries to compare with --delivery.',
      );
    }
  }
  const hasHandlers = deliveries.some((delivery) => DELIVERIES[delivery].handled);
  if (!hasHandlers && choices.handlers) {
    throw new UsageError('--handlers says nothing without delivery handler');
  }
  const variants = writers.flatMap((threads) =>
    deliveries.map((delivery): Variant => {
      const beside = threads === 0 ? '' : `, ${threads} writer${threads > 1 ? 's' : ''}`;
      return { label: `${delivery}${beside}`, delivery, writers: threads };
    }),
  );
  const list = (values: readonly (string | number)[]): string => values.join(',');
  const words = [
    `faultline bench contention --pages ${pages} --repeat ${repeat} --vcpus ${vcpus}`,
    `--delivery ${list(deliveries)}${hasHandlers ? ` --handlers ${handlers}` : ''}`,
    `--uffds ${uffds} --backing ${backing}`,
    `--writers ${list(writers)} --writer-rate ${writerRate}`,
    ...(pin === undefined ? [] : [`--pin '${nameOfPin(pin)}'`]),
  ];
  const command = words.join(' ');
  return { pages, repeat, vcpus, handlers, uffds, backing, writerRate, variants, command };
}

/** `vcpu=0,1;handler=1`, as it is given. */
export function nameOfPin(pin: NonNullable<BenchChoices['pin']>): string {
  return Object.entries(pin)
    .map(([kind, cpus]) => `${kind}=${cpus.join(',')}`)
    .join(';');
}

/** What a run of a variant is asked for. */
export function optionsOf(
  plan: ContentionPlan,
  variant: Variant,
  part: Part,
  { pin }: BenchChoices,
): RunOptions {
  const { delivery, writers } = variant;
  const pages = plan.pages * plan.vcpus;
  const { prefilled, handled } = DELIVERIES[delivery];
  return {
    image: 'touch',
    delivery,
    backing: plan.backing,
    memoryBytes: memoryFor(pages),
    vcpus: plan.vcpus,
    ...(!prefilled && { uffds: plan.uffds }),
    ...(handled && { handlers: plan.handlers }),
    ...(pin && { pin }),
    // Written, for a read maps up to 16 pages at once where the kernel serves the fault.
    params: { pages: String(pages), write: '100', share: 'partition' },
    writers:
      writers === 0 ? null : { threads: writers, perSecond: plan.writerRate, calls: 'mixed' },
    countKernelEvents: part !== 'timed',
    traceLocks: part === 'traced',
    countFaultRetries: part === 'counted', // its times are not used
  };
}
