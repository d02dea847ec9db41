import { UnsupportedError, UsageError } from '../../src/ffi/errors.js';
import { checkNetwork } from '../../src/machine/source-checks.js';
import { describeHost } from '../../src/measure/host.js';
import type { BackingName } from '../../src/memory/backing.js';
import { formatSize, LARGEST_UNIT_BYTES, PAGE_BYTES } from '../../src/memory/sizes.js';
import {
  ACCESSES,
  type Access,
  type Subject,
  type UnitRun,
  type UnitsSummary,
} from '../../src/report/units-result.js';
import { type Network, nameOfNetwork } from '../../src/source/network-link.js';
import { DEFAULT_SEED } from '../../src/source/open-source.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import type { Bench, BenchOptions } from './bench.js';
import { describeUnits } from './units-answer.js';
import { pagesFor, SPARSE_EVERY, subjectOf } from './units-plan.js';
import { compareUnits, type Sample } from './units-summary.js';
import { memoryFor, verifiedRun } from './verified-run.js';

const DEFAULTS = {
  repeat: 3,
  unit: [4, 8, 64, 512, 2048].map((kibibytes) => kibibytes * 1024),
  /** Rates of Ethernet, each with a latency that is usual for it. */
  network: [
    { bitsPerSecond: 100e6, latencyMicroseconds: 200 },
    { bitsPerSecond: 1e9, latencyMicroseconds: 100 },
    { bitsPerSecond: 10e9, latencyMicroseconds: 30 },
    { bitsPerSecond: 100e9, latencyMicroseconds: 10 },
  ],
  /** Not those that are shmem by another name: anon-shared and tmpfs. */
  backing: [
    'anon-private',
    'shmem',
    'shmem-private',
    'tmpfs-huge',
    'hugetlb-2M',
    'hugetlb-private-2M',
  ],
} as const satisfies BenchOptions;

export const units: Bench<UnitRun, UnitsSummary> = {
  name: 'units',
  description: 'fault units from 4K to 2M over networks of several speeds: which is best for what',
  extent: `${DEFAULTS.unit.map(formatSize).join(', ')} over ${DEFAULTS.network.map(nameOfNetwork).join(', ')}, ${DEFAULTS.backing.length} backings, ${DEFAULTS.repeat} repetitions: about 5 minutes`,
  takes: ['repeat', 'backing', 'network', 'unit'],

  async run(given) {
    const options = { ...DEFAULTS, ...given };
    const { repeat } = options;
    const units = checkUnits(options.unit);
    const networks = distinctNetworks(options.network);
    networks.forEach(checkNetwork);
    const backings = [...new Set<BackingName>(options.backing)];
    const startedAt = new Date().toISOString();
    const found = backings.map((backing) => subjectOf(backing, units));
    const subjects = found.filter((subject) => 'units' in subject);
    const leftOut = found.filter((subject) => 'reason' in subject);
    if (subjects.length === 0) {
      throw new UnsupportedError(
        `there is nothing to measure; ${leftOut.map(({ backing, reason }) => `${backing}: ${reason}`).join('; ')}`,
      );
    }
    const steps = allSteps(subjects, networks, repeat);
    const runs: UnitRun[] = [];
    const samples: Sample[] = [];
    for (const step of steps) {
      options.onStep?.(runs.length, steps.length, nameOfStep(step));
      const run = await measure(step, options);
      runs.push(run);
      samples.push(...samplesOf(step, run));
    }
    const list = (values: readonly string[]): string => values.join(',');
    return {
      schema: 'faultline.bench/1',
      bench: 'units',
      host: describeHost(),
      startedAt,
      command: `faultline bench units --repeat ${repeat} --backing ${list(backings)} --network ${list(networks.map(nameOfNetwork))} --unit ${list(units.map(formatSize))}`,
      constant: {
        image: 'touch',
        write: 0,
        vcpus: 1,
        repeat,
        sparseEvery: SPARSE_EVERY,
        sourceMicrosecondsPerPage: measureSource(),
      },
      runs,
      summary: compareUnits({ units, networks, subjects, leftOut }, samples),
    };
  },

  describe: describeUnits,
};

function checkUnits(units: readonly number[]): readonly number[] {
  for (const unitBytes of units) {
    if (
      !Number.isInteger(Math.log2(unitBytes)) ||
      unitBytes < PAGE_BYTES ||
      unitBytes > LARGEST_UNIT_BYTES
    ) {
      throw new UsageError(
        `--unit ${unitBytes} is not a power of two from 4K to 2M`,
        'Use a list such as 4K,64K,2M.',
      );
    }
  }
  return [...new Set(units)].sort((a, b) => a - b);
}

/** The same rate can be written in several ways. */
function distinctNetworks(networks: readonly Network[]): readonly Network[] {
  return [...new Map(networks.map((network) => [nameOfNetwork(network), network])).values()];
}

interface Step {
  readonly subject: Subject;
  readonly unitBytes: number;
  readonly network: Network;
  readonly access: Access;
}

/** What is compared is measured one after the other: the units of one backing, to and fro. */
function allSteps(
  subjects: readonly Subject[],
  networks: readonly Network[],
  repeat: number,
): Step[] {
  const steps: Step[] = [];
  for (let round = 0; round < repeat; round++) {
    for (const network of networks) {
      for (const subject of subjects) {
        for (const access of ACCESSES) {
          const { units } = subject;
          for (const unitBytes of round % 2 === 0 ? units : units.toReversed()) {
            steps.push({ subject, unitBytes, network, access });
          }
        }
      }
    }
  }
  return steps;
}

function nameOfStep({ subject, unitBytes, network, access }: Step): string {
  return `${subject.backing}, ${formatSize(unitBytes)}, ${access}, over ${nameOfNetwork(network)}`;
}

async function measure(step: Step, options: BenchOptions): Promise<UnitRun> {
  const { subject, unitBytes, network, access } = step;
  const pages = pagesFor(subject, access, unitBytes, network);
  const every = access === 'dense' ? 1 : SPARSE_EVERY;
  const run = await verifiedRun({
    image: 'touch',
    backing: subject.backing,
    delivery: subject.delivery,
    memoryBytes: memoryFor(pages * every),
    unitBytes,
    network,
    params: {
      pages: String(pages),
      every: String(every),
      order: access === 'dense' ? 'sequential' : 'random',
    },
    pin: { vcpu: [0], handler: [0] },
    countKernelEvents: false,
    ...(options.signal && { signal: options.signal }),
    ...(options.onProgress && { onProgress: options.onProgress }),
  });
  return { ...run, access };
}

function samplesOf({ subject, unitBytes, network, access }: Step, run: UnitRun): Sample[] {
  const sample = { network: nameOfNetwork(network), backing: subject.backing, unitBytes };
  const samples: Sample[] = [
    { ...sample, metric: access, microseconds: (run.guestSeconds! * 1e6) / run.pages.touched! },
  ];
  const first = run.firstInstructionMicroseconds;
  if (access === 'dense' && first !== null) {
    samples.push({ ...sample, metric: 'firstInstruction', microseconds: first.p50 });
  }
  return samples;
}

/** What making a page's contents costs, which a network does not take off: 64 MiB of it. */
function measureSource(): number {
  const source = new PatternSource(DEFAULT_SEED);
  const words = new Int32Array(LARGEST_UNIT_BYTES / 4);
  const pages = LARGEST_UNIT_BYTES / PAGE_BYTES;
  const rounds = 32;
  const began = performance.now();
  for (let round = 0; round < rounds; round++) {
    source.fill(round * pages, words, 0, words.length);
  }
  return ((performance.now() - began) * 1000) / (rounds * pages);
}
