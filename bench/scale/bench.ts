import { UsageError } from '../../src/ffi/errors.js';
import type { DeliveryName } from '../../src/machine/delivery.js';
import type { Pin, Progress } from '../../src/machine/machine-config.js';
import type { BackingName } from '../../src/memory/backing.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import type { Network } from '../../src/source/network-link.js';

/** What is measured; a bench takes those that {@link Bench.takes} names. */
export interface BenchChoices {
  /** Pages of 4 KiB that each run touches; in `faults` and `contention`, that each vCPU does. */
  readonly pages?: number;
  /** Repetitions, or pairs. */
  readonly repeat?: number;
  /** Those that take no list want one number. */
  readonly vcpus?: readonly number[];
  readonly delivery?: readonly DeliveryName[];
  /** Handler threads, for delivery `handler`; `vcpus`: as many as there are vCPUs. */
  readonly handlers?: readonly (number | 'vcpus')[];
  readonly uffds?: readonly ('one' | 'per-vcpu')[];
  readonly share?: readonly ('partition' | 'overlap')[];
  readonly order?: readonly ('sequential' | 'random')[];
  /** An imitated network fetch: how much later each page is here. */
  readonly delayMicroseconds?: number;
  readonly pin?: Pin;
  /** Threads that change the address space elsewhere, meanwhile. */
  readonly writers?: readonly number[];
  /** Changes each of them makes in a second. */
  readonly writerRate?: number;
  /** Published curves to lay over ours. */
  readonly reference?: readonly string[];
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

/**
 * The one value of a choice that takes a list in other benches.
 *
 * @throws UsageError there are several
 */
export function theOne<Value>(
  values: readonly Value[] | undefined,
  otherwise: Value,
  option: string,
): Value {
  const [value = otherwise, ...more] = values ?? [];
  if (more.length > 0) {
    throw new UsageError(`--${option} takes one value in this bench`);
  }
  return value;
}
