import type { Progress } from '../../src/machine/machine-config.js';
import type { HostDescription } from '../../src/measure/host.js';

/** What every bench takes; each uses what its {@link Bench.options} names. */
export interface BenchOptions {
  /** Pages of 4 KiB that each run touches. */
  readonly pages?: number;
  /** Repetitions, or pairs. */
  readonly repeat?: number;
  readonly vcpus?: number;
  readonly signal?: AbortSignal;
  /** A step begins: `done` of `total` are behind it. */
  readonly onStep?: (done: number, total: number, name: string) => void;
  readonly onProgress?: (progress: Progress) => void;
}

/** The JSON of a bench: schema `faultline.bench/1`. */
export interface BenchResult<Run, Summary> {
  readonly schema: 'faultline.bench/1';
  readonly bench: string;
  readonly host: HostDescription;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  /** How to do it again. */
  readonly command: string;
  /** What is the same in all runs. */
  readonly constant: Readonly<Record<string, string | number>>;
  readonly runs: readonly Run[];
  readonly summary: Summary;
}

/** A bench: how to run it, and how to say what came out. */
export interface Bench<Run = unknown, Summary = unknown> {
  readonly name: string;
  readonly description: string;
  readonly defaults: { readonly pages: number; readonly repeat: number; readonly vcpus: number };
  /** Whether {@link BenchOptions.vcpus} means anything to it. */
  readonly takesVcpus: boolean;
  run(options: BenchOptions): Promise<BenchResult<Run, Summary>>;
  /** The result in text, from the result alone. */
  describe(result: BenchResult<Run, Summary>): string;
}
