import type { Progress } from '../../src/machine/machine-config.js';
import type { HostDescription } from '../../src/measure/host.js';
import type { BackingName } from '../../src/memory/backing.js';
import type { Network } from '../../src/source/network-link.js';

/** What is measured; a bench takes those that {@link Bench.takes} names. */
export interface BenchChoices {
  /** Pages of 4 KiB that each run touches. */
  readonly pages?: number;
  /** Repetitions, or pairs. */
  readonly repeat?: number;
  readonly vcpus?: number;
  readonly backing?: readonly BackingName[];
  readonly network?: readonly Network[];
  /** Fault units in bytes. */
  readonly unit?: readonly number[];
  readonly minutes?: number;
  /** Of what is drawn by lot. */
  readonly seed?: number;
}

export interface BenchOptions extends BenchChoices {
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
  /** How much one call measures unless told otherwise, in words. */
  readonly extent: string;
  /** The choices that mean anything to it. */
  readonly takes: readonly (keyof BenchChoices)[];
  run(options: BenchOptions): Promise<BenchResult<Run, Summary>>;
  /** The result in text, from the result alone. */
  describe(result: BenchResult<Run, Summary>): string;
}
