import { FaultlineError, UnsupportedError, UsageError } from '../../src/ffi/errors.js';
import { chooseDelivery, DELIVERIES, type DeliveryName } from '../../src/machine/delivery.js';
import { MAX_MEMORY_BYTES, WORKLOAD_START } from '../../src/machine/guest-physical-map.js';
import { MAX_HANDLERS, MAX_VCPUS, type Pin } from '../../src/machine/machine-config.js';
import { whyRefused } from '../../src/machine/refusals.js';
import type { Backing, BackingName } from '../../src/memory/backing.js';
import { findBacking } from '../../src/memory/open-backing.js';
import { formatSize } from '../../src/memory/sizes.js';
import type { FaultsSubject, FaultsSummary } from '../../src/report/faults-result.js';
import { memoryFor } from './verified-run.js';
import { whyNoMemory } from './why-no-memory.js';

/** What is asked for; every product of the lists but `vcpus` is a curve. */
export interface FaultsChoices {
  readonly pages: number;
  readonly repeat: number;
  readonly vcpus: readonly number[];
  readonly delivery: readonly DeliveryName[];
  readonly backing: readonly BackingName[];
  readonly uffds: readonly FaultsSubject['uffds'][];
  readonly handlers: readonly (number | 'vcpus')[];
  readonly share: readonly FaultsSubject['share'][];
  readonly order: readonly FaultsSubject['order'][];
  readonly delayMicroseconds: number;
  readonly pin: Pin | null;
}

export interface Labelled {
  readonly label: string;
  readonly subject: FaultsSubject;
}

export interface FaultsPlan {
  readonly subjects: readonly Labelled[];
  readonly leftOut: FaultsSummary['leftOut'];
  /** Ascending. */
  readonly vcpus: readonly number[];
}

/** One run of the bench. */
export interface FaultsStep extends Labelled {
  readonly vcpus: number;
  /** 0: the warm-up. */
  readonly round: number;
}

/** 1, 2, 4, … up to four times the CPUs, with that many vCPUs at last. */
export function defaultVcpus(cpus: number): readonly number[] {
  const most = Math.min(4 * cpus, MAX_VCPUS);
  const powers = Array.from({ length: Math.floor(Math.log2(most)) + 1 }, (_, at) => 2 ** at);
  return [...new Set([...powers, most])];
}

/** @throws UsageError, UnsupportedError for what no run could be made of */
export function planFaults(choices: FaultsChoices): FaultsPlan {
  const vcpus = [...new Set(choices.vcpus)].sort((a, b) => a - b);
  check('--vcpus', vcpus, MAX_VCPUS);
  check(
    '--handlers',
    choices.handlers.filter((handlers) => handlers !== 'vcpus'),
    MAX_HANDLERS,
  );
  const bytes = memoryFor(choices.pages * vcpus.at(-1)!);
  if (bytes > MAX_MEMORY_BYTES) {
    throw new UsageError(
      `--pages ${choices.pages} for each of ${vcpus.at(-1)} vCPUs takes ${formatSize(bytes)} of guest memory, and a guest has ${formatSize(MAX_MEMORY_BYTES)} at most`,
    );
  }
  const all = label(subjectsOf(choices));
  const whys = all.map(({ subject }) => whyNot(subject, bytes));
  const leftOut = all.flatMap(({ label }, at) => {
    const reason = whys[at];
    return typeof reason === 'string' ? [{ label, reason }] : [];
  });
  const subjects = all.filter((_, at) => whys[at] === null);
  if (subjects.length === 0) {
    throw new UnsupportedError(
      `there is nothing to measure; ${leftOut.map(({ label, reason }) => `${label}: ${reason}`).join('; ')}`,
    );
  }
  return { subjects, leftOut, vcpus };
}

/** Interleaved: what is compared is measured one after the other, to and fro, the warm-up first. */
export function stepsOf({ subjects, vcpus }: FaultsPlan, repeat: number): FaultsStep[] {
  return Array.from({ length: repeat + 1 }, (_, round) => {
    const steps = vcpus.flatMap((count) =>
      subjects.map((labelled) => ({ ...labelled, vcpus: count, round })),
    );
    return round % 2 === 0 ? steps : steps.reverse();
  }).flat();
}

function check(option: string, values: readonly number[], most: number): void {
  const wrong = values.find((value) => !Number.isInteger(value) || value < 1 || value > most);
  if (wrong !== undefined) {
    throw new UsageError(`${option} ${wrong} is not a whole number from 1 to ${most}`);
  }
}

/** Userfaultfds and handlers are told apart only where a delivery has them. */
function subjectsOf(choices: FaultsChoices): readonly FaultsSubject[] {
  const { delayMicroseconds, pin } = choices;
  const subjects = choices.backing.flatMap((backing) =>
    choices.share.flatMap((share) =>
      choices.order.flatMap((order) =>
        choices.delivery.flatMap((delivery) => {
          const { trapped, handled } = DELIVERIES[delivery];
          const splits = trapped || handled ? choices.uffds : (['one'] as const);
          return splits.flatMap((uffds) =>
            (handled ? choices.handlers : [0]).map((number) => ({
              delivery,
              backing,
              uffds,
              handlers: number === 'vcpus' ? null : number,
              share,
              order,
              delayMicroseconds,
              pin,
            })),
          );
        }),
      ),
    ),
  );
  return [...new Map(subjects.map((subject) => [JSON.stringify(subject), subject])).values()];
}

const NAMES: Readonly<Record<string, (subject: FaultsSubject) => string>> = {
  backing: ({ backing }) => backing,
  uffds: ({ uffds }) => (uffds === 'one' ? 'one uffd' : 'uffd per vCPU'),
  handlers: ({ handlers }) =>
    handlers === null ? 'handler per vCPU' : `${handlers} handler${handlers === 1 ? '' : 's'}`,
  share: ({ share }) => share,
  order: ({ order }) => order,
};

/** Each is called by its delivery, and by what else differs among those of the same delivery. */
function label(subjects: readonly FaultsSubject[]): readonly Labelled[] {
  return subjects.map((subject) => {
    const peers = subjects.filter(({ delivery }) => delivery === subject.delivery);
    const parts = Object.values(NAMES)
      .filter((name) => new Set(peers.map(name)).size > 1)
      .map((name) => name(subject));
    return { label: [subject.delivery, ...parts].join(', '), subject };
  });
}

/** Null if it can be measured. */
function whyNot(subject: FaultsSubject, bytes: number): string | null {
  const { delivery, uffds, delayMicroseconds } = subject;
  const backing = findBacking(subject.backing);
  const refusal = whyRefused(backing, { delivery, uffds, delay: delayMicroseconds > 0 });
  if (refusal !== null) {
    return `${refusal.flag}: ${refusal.reason}`;
  }
  if (backing.pageBytes > WORKLOAD_START) {
    return `its pages are ${formatSize(backing.pageBytes)}: the one that holds the image would be all the memory that is touched`;
  }
  return whyNoUserfaultfd(backing, delivery) ?? whyNoMemory(backing, bytes, bytes);
}

function whyNoUserfaultfd(backing: Backing, delivery: DeliveryName): string | null {
  if (delivery === 'kernel') {
    return null;
  }
  try {
    const chosen = chooseDelivery(backing);
    return delivery === 'exit' && chosen.delivery.name !== 'exit' ? chosen.why : null;
  } catch (error) {
    if (error instanceof FaultlineError && error.code === 'unsupported') {
      return error.hint === '' ? error.message : `${error.message}. ${error.hint}`;
    }
    throw error;
  }
}
