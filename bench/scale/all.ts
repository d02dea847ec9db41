import { FaultlineError, UnsupportedError } from '../../src/ffi/errors.js';
import { describeHost } from '../../src/measure/host.js';
import type { BenchResult, BenchSet } from '../../src/report/bench-result.js';
import type { Bench, BenchChoices, BenchOptions } from './bench.js';
import { BENCHES } from './registry.js';

/** How a bench is part of the set. */
interface Part {
  /** Less than it does by itself, so that all take under five minutes on two CPUs. */
  readonly choices: BenchChoices;
  /** What that takes there, roughly: how far the set is goes by it. */
  readonly seconds: number;
}

/** Null: not part of it. One that is not named here is, as it is. */
const PARTS: Readonly<Record<string, Part | null>> = {
  deliveries: { choices: { pages: 8192, repeat: 3 }, seconds: 25 },
  faults: { choices: { pages: 2048, repeat: 3 }, seconds: 50 },
  contention: { choices: { pages: 1024, repeat: 2 }, seconds: 40 },
  overhead: { choices: { pages: 8192, repeat: 5 }, seconds: 35 },
  units: {
    choices: {
      repeat: 3,
      backing: ['shmem', 'anon-private'],
      unit: [4096, 65536, 2 ** 21],
      network: [
        { bitsPerSecond: 1e9, latencyMicroseconds: 100 },
        { bitsPerSecond: 10e9, latencyMicroseconds: 30 },
      ],
    },
    seconds: 50,
  },
  micro: { choices: {}, seconds: 16 },
  soak: null, // it measures nothing
};
const AS_IT_IS: Part = { choices: {}, seconds: 60 };

export const ALL = {
  name: 'all',
  description: 'these one after the other, but for soak, each in brief',
  extent: 'under five minutes on two CPUs',
} as const;

/** `done` and `total` are seconds that it takes on two CPUs, roughly. */
export type AllOptions = Pick<BenchOptions, 'signal' | 'onStep'>;

/**
 * Runs every bench in brief.
 *
 * @param benches those to run
 * @throws what a bench throws: one that fails leaves no set. One that this host cannot do is left out.
 */
export async function runAll(
  { signal, onStep }: AllOptions,
  benches: readonly Bench[] = BENCHES,
): Promise<BenchSet> {
  const parts = benches.flatMap((bench) => {
    const part = PARTS[bench.name] === undefined ? AS_IT_IS : PARTS[bench.name];
    return part ? [{ bench, ...part }] : [];
  });
  const total = parts.reduce((sum, { seconds }) => sum + seconds, 0);
  const startedAt = new Date().toISOString();
  const results: BenchResult[] = [];
  const leftOut: { bench: string; reason: string }[] = [];
  let behind = 0;
  for (const { bench, choices, seconds } of parts) {
    const { name } = bench;
    try {
      const result = await bench.run({
        ...choices,
        ...(signal && { signal }),
        onStep: (done, of, step) =>
          onStep?.(behind + (seconds * done) / of, total, `${name}: ${step}`),
      });
      results.push(result);
    } catch (error) {
      if (!(error instanceof FaultlineError && error.code === 'unsupported')) {
        throw error;
      }
      const reason = error.hint === '' ? error.message : `${error.message}. ${error.hint}`;
      leftOut.push({ bench: name, reason });
    }
    behind += seconds;
  }
  if (results.length === 0) {
    const reasons = leftOut.map(({ bench, reason }) => `${bench}: ${reason}`).join('; ');
    throw new UnsupportedError(`no bench can be run here; ${reasons}`);
  }
  return {
    schema: 'faultline.benches/1',
    host: describeHost(),
    startedAt,
    command: 'faultline bench all',
    results,
    leftOut,
  };
}

/** What came out, bench by bench. */
export function describeAll({ results, leftOut }: BenchSet, benches = BENCHES): string {
  const parts = results.map((result) => {
    const bench = benches.find(({ name }) => name === result.bench);
    return `== ${result.bench}\n\n${bench?.describe(result) ?? ''}`;
  });
  for (const { bench, reason } of leftOut ?? []) {
    parts.push(`== ${bench}\n\nLeft out: ${reason.replace(/\.?$/, '.')}`);
  }
  return parts.join('\n\n');
}
