import { cpus } from 'node:os';
import type { Strategy } from '../fault/resolver.js';
import { UsageError } from '../ffi/errors.js';
import { BACKINGS, type BackingKind } from '../memory/backing.js';
import { DEFAULT_SEED, type SourceSpec } from '../source/open-source.js';
import { DELIVERY_NAMES, type DeliveryName } from './delivery.js';
import { MAX_MEMORY_BYTES, MIN_MEMORY_BYTES } from './guest-physical-map.js';

/** CPUs that threads are pinned to: thread k of a kind to entry k, modulo the length. */
export interface Pin {
  readonly vcpu?: readonly number[];
  readonly handler?: readonly number[];
}

/** What a run is asked for. Only the image is needed; the defaults are those of the command line. */
export interface RunOptions {
  /** The name of a bundled guest, or a path. */
  readonly image: string;
  /** Guest RAM in bytes, a multiple of the fault unit. Default 256 MiB. */
  readonly memoryBytes?: number;
  /** Default `shmem`. */
  readonly backing?: BackingKind;
  /** Default `auto`: the cheapest that is correct on this host. */
  readonly delivery?: DeliveryName | 'auto';
  /** Default `no-slow-gup`. */
  readonly strategy?: Strategy;
  /** Bytes brought in per fault: a power of two, the backing's page size to 2 MiB. */
  readonly unitBytes?: number;
  /** 1 to 64. Default 1. */
  readonly vcpus?: number;
  /** Handler threads, for delivery `handler`: 1 to 64. Default 1. */
  readonly handlers?: number;
  /** Default: the pattern with seed 1. */
  readonly source?: SourceSpec;
  readonly pin?: Pin;
  /** Parameters of the image, as text. */
  readonly params?: Readonly<Record<string, string>>;
  /** Default 60. */
  readonly timeoutSeconds?: number;
  /**
   * Whether mmap_lock acquisitions and context switches are counted in the threads of the run, which
   * costs several microseconds a fault where threads switch. Default true.
   */
  readonly countKernelEvents?: boolean;
  /** Ends the run early: vCPUs are stopped, the result says `interrupted`. */
  readonly signal?: AbortSignal;
  /** Receives what the guest writes to its serial port, line by line. */
  readonly onConsole?: (text: string, vcpu: number) => void;
  /** Called about ten times a second. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly faults: number;
  /** Pages the run will touch, or null when that is not known. */
  readonly pages: number | null;
  readonly seconds: number;
}

/** The options, complete and checked. */
export interface MachineConfig {
  readonly image: string;
  readonly memoryBytes: number;
  readonly backing: BackingKind;
  readonly delivery: DeliveryName | 'auto';
  readonly strategy: Strategy;
  readonly unitBytes: number;
  readonly vcpus: number;
  readonly handlers: number;
  readonly source: SourceSpec;
  readonly pin: Pin;
  readonly params: Readonly<Record<string, string>>;
  readonly timeoutSeconds: number;
  readonly countKernelEvents: boolean;
}

export const STRATEGIES: readonly Strategy[] = ['no-slow-gup', 'no-uffd-wait'];
export const MAX_VCPUS = 64;
export const MAX_HANDLERS = 64;
const MAX_UNIT_BYTES = 2 * 2 ** 20;

/** @throws UsageError naming the option that cannot be used */
export function completeConfig(options: RunOptions): MachineConfig {
  const backing = oneOf('--backing', options.backing ?? 'shmem', Object.keys(BACKINGS));
  const { pageBytes } = BACKINGS[backing];
  const unitBytes = options.unitBytes ?? pageBytes;
  if (
    !Number.isInteger(Math.log2(unitBytes)) ||
    unitBytes < pageBytes ||
    unitBytes > MAX_UNIT_BYTES
  ) {
    throw new UsageError(
      `--unit ${unitBytes} is not a power of two from ${pageBytes} to ${MAX_UNIT_BYTES} bytes`,
      'Use 4K, 8K, … 2M.',
    );
  }
  const memoryBytes = options.memoryBytes ?? 256 * 2 ** 20;
  if (memoryBytes < MIN_MEMORY_BYTES || memoryBytes > MAX_MEMORY_BYTES) {
    throw new UsageError(
      `--memory ${memoryBytes} is not between ${MIN_MEMORY_BYTES / 2 ** 20}M and ${MAX_MEMORY_BYTES / 2 ** 30}G`,
    );
  }
  if (memoryBytes % Math.max(unitBytes, 4096) !== 0) {
    throw new UsageError(
      `--memory ${memoryBytes} is not a multiple of the fault unit of ${unitBytes} bytes`,
    );
  }
  const pin = options.pin ?? {};
  for (const cpu of [...(pin.vcpu ?? []), ...(pin.handler ?? [])]) {
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= cpus().length) {
      throw new UsageError(`--pin names CPU ${cpu}, and this host has 0 to ${cpus().length - 1}`);
    }
  }
  const timeoutSeconds = options.timeoutSeconds ?? 60;
  if (!(timeoutSeconds > 0) || timeoutSeconds > 2_000_000) {
    throw new UsageError(
      `--timeout ${timeoutSeconds} is not a number of seconds from 0 to 2000000`,
    );
  }
  return {
    image: options.image,
    memoryBytes,
    backing,
    delivery: oneOf('--delivery', options.delivery ?? 'auto', ['auto', ...DELIVERY_NAMES]),
    strategy: oneOf('--strategy', options.strategy ?? 'no-slow-gup', STRATEGIES),
    unitBytes,
    vcpus: within('--vcpus', options.vcpus ?? 1, MAX_VCPUS),
    handlers: within('--handlers', options.handlers ?? 1, MAX_HANDLERS),
    source: checkSource(options.source ?? { kind: 'pattern', seed: DEFAULT_SEED }),
    pin,
    params: options.params ?? {},
    timeoutSeconds,
    countKernelEvents: options.countKernelEvents ?? true,
  };
}

function oneOf<Name extends string>(flag: string, value: Name, names: readonly string[]): Name {
  if (!names.includes(value)) {
    throw new UsageError(`${flag} ${value} is none of ${names.join(', ')}`);
  }
  return value;
}

function checkSource(source: SourceSpec): SourceSpec {
  if (source.kind === 'pattern' && source.seed !== source.seed >>> 0) {
    throw new UsageError(`--source pattern:${source.seed} has a seed that is no 32-bit number`);
  }
  return source;
}

function within(flag: string, value: number, most: number): number {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new UsageError(`${flag} ${value} is not a whole number from 1 to ${most}`);
  }
  return value;
}
