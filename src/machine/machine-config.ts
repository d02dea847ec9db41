import { cpus } from 'node:os';
import type { AroundPolicy } from '../fault/around.js';
import type { Strategy } from '../fault/revisit.js';
import { UsageError } from '../ffi/errors.js';
import type { BackingName } from '../memory/backing.js';
import { findBacking } from '../memory/open-backing.js';
import { formatSize } from '../memory/sizes.js';
import type { SourceFault } from '../source/faulty-source.js';
import type { Network } from '../source/network-link.js';
import { type ContentsSpec, DEFAULT_SEED } from '../source/open-source.js';
import { DELIVERY_NAMES, type DeliveryName, EXITS_BY, type ExitBy } from './delivery.js';
import { checkFirmware } from './firmware.js';
import { MAX_MEMORY_BYTES, MIN_MEMORY_BYTES } from './guest-physical-map.js';
import { COLLAPSE_POLICIES, type CollapsePolicy, whyRefused } from './refusals.js';
import {
  checkDelay,
  checkFault,
  checkNetwork,
  checkRetries,
  checkSource,
} from './source-checks.js';
import { checkWriters, type Writers } from './writers.js';

/** CPUs that threads are pinned to: thread k of a kind to entry k, modulo the length. */
export interface Pin {
  readonly vcpu?: readonly number[];
  readonly handler?: readonly number[];
}

/** Something done to guest memory in the background. */
export interface Background {
  /** Null: as fast as it goes, but for `discard` 64 MiB a second. */
  readonly bytesPerSecond: number | null;
}

/** What a run is asked for. Only the image is needed; the defaults are those of the command line. */
export interface RunOptions {
  /** The name of a bundled guest, or a path. */
  readonly image: string;
  /** Whether the image is a PC's firmware, which starts at the reset vector. Default false. */
  readonly firmware?: boolean;
  /** Guest RAM in bytes, a multiple of the fault unit. Default 256 MiB. */
  readonly memoryBytes?: number;
  /** Default `shmem`. */
  readonly backing?: BackingName;
  /** Whether a hugetlb backing reserves its pages at once. Default true. */
  readonly reserve?: boolean;
  /** Default `auto`: the cheapest that is correct on this host. */
  readonly delivery?: DeliveryName | 'auto';
  /**
   * What ends KVM_RUN under delivery exit, which any but `auto` asks for. Default `auto`: the cheapest
   * that this host has.
   */
  readonly exitBy?: ExitBy | 'auto';
  /** Default `no-slow-gup`. */
  readonly strategy?: Strategy;
  /** Bytes brought in per fault: a power of two, the backing's page size to 2 MiB. */
  readonly unitBytes?: number;
  /** Neighbouring units brought in with each fault. Default 0. */
  readonly around?: AroundPolicy;
  /** When complete blocks of 2 MiB are made huge pages again. Default `never`. */
  readonly collapse?: CollapsePolicy;
  /** Brings the missing units in while the guest runs, in the order of their addresses. */
  readonly prefetch?: Background | null;
  /** Discards units at random places while the guest runs: for a guest that writes nothing. */
  readonly discard?: Background | null;
  /** Default null: none. */
  readonly writers?: Writers | null;
  /** 1 to 64. Default 1. */
  readonly vcpus?: number;
  /** Handler threads, for delivery `handler`: 1 to 64. Default 1. */
  readonly handlers?: number;
  /** Over how many userfaultfds the memory is split: one, or as many as there are vCPUs. Default `one`. */
  readonly uffds?: 'one' | 'per-vcpu';
  /** Default: the pattern with seed 1. */
  readonly source?: ContentsSpec;
  /**
   * The network that missing pages come over while the guest runs, imitated. What is brought in
   * before that does not. Default null: none.
   */
  readonly network?: Network | null;
  /**
   * How much later every page is there that is brought in while the guest runs, in microseconds: an
   * imitated fetch, on top of `network`. Requests of several threads overlap. Default 0.
   */
  readonly delayMicroseconds?: number;
  /** GPAs whose fault units fail when they are touched. Default none. */
  readonly poison?: readonly number[];
  /** What becomes of a vCPU that touches memory which failed. Default `stop`. */
  readonly onMemoryError?: MemoryErrorPolicy;
  /**
   * How the source misbehaves while the guest runs, to exercise what is done about that. Pages that
   * are brought in before that do not fail. Default: it does not.
   */
  readonly failSource?: readonly SourceFault[];
  /** How often a source that fails is asked again, after a pause that doubles. Default 3. */
  readonly sourceRetries?: number;
  /** How the image comes into memory. Default `auto`. */
  readonly load?: LoadPolicy;
  /** Of a Linux kernel. Default empty. */
  readonly commandLine?: string;
  /** Path of its initial RAM disk. */
  readonly initrd?: string | null;
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
  /**
   * Whether the waits and holds of mmap_lock are traced in the threads of the run, and kernel events
   * counted besides: it slows every lock down by a microsecond or more. Default false.
   */
  readonly traceLocks?: boolean;
  /**
   * Whether page faults that give up mmap_lock and are begun again are counted, and kernel events
   * besides: it looks at the kernel's stack at every release. Default false.
   */
  readonly countFaultRetries?: boolean;
  /** Counts calls of functions that a fault may go through, by kprobes: slow GUP, userfaults. Default false. */
  readonly countKernelCalls?: boolean;
  /** Ends the run early: vCPUs are stopped, the result says `interrupted`. */
  readonly signal?: AbortSignal;
  /**
   * Receives what the guest writes to its serial port, line by line, one character for each byte. A
   * guest that writes much waits while promises returned here are not fulfilled; the run's end does not.
   */
  readonly onConsole?: (text: string, vcpu: number) => void | Promise<void>;
  /**
   * What is typed at the guest's serial port, for a guest that has one to read from (a Linux kernel).
   * It is asked for more only once the guest has taken what there was; its end is nothing to the guest.
   */
  readonly input?: AsyncIterable<Uint8Array>;
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
  readonly firmware: boolean;
  readonly memoryBytes: number;
  readonly backing: BackingName;
  readonly reserve: boolean;
  readonly delivery: DeliveryName | 'auto';
  readonly exitBy: ExitBy | 'auto';
  readonly strategy: Strategy;
  readonly unitBytes: number;
  readonly around: AroundPolicy;
  readonly collapse: CollapsePolicy;
  readonly prefetch: Background | null;
  readonly discard: Background | null;
  readonly writers: Writers | null;
  readonly vcpus: number;
  readonly handlers: number;
  readonly uffds: 'one' | 'per-vcpu';
  readonly source: ContentsSpec;
  readonly network: Network | null;
  readonly delayMicroseconds: number;
  readonly poison: readonly number[];
  readonly onMemoryError: MemoryErrorPolicy;
  readonly failSource: readonly SourceFault[];
  readonly sourceRetries: number;
  readonly load: LoadPolicy;
  readonly commandLine: string;
  readonly initrd: string | null;
  readonly pin: Pin;
  readonly params: Readonly<Record<string, string>>;
  readonly timeoutSeconds: number;
  readonly countKernelEvents: boolean;
  readonly traceLocks: boolean;
  readonly countFaultRetries: boolean;
  readonly countKernelCalls: boolean;
}

/**
 * What becomes of a vCPU that touches memory whose contents cannot be had: `inject` tells the guest
 * by a machine check, `stop` ends the run with a report.
 */
export type MemoryErrorPolicy = 'inject' | 'stop';

/**
 * How the image and the tables it runs on come into memory: `resident`, before the guest starts, or
 * on `demand`, as all other pages. `auto`: on demand where the hardware walks page tables, but for the
 * guests whose own faults are what is measured.
 */
export type LoadPolicy = 'auto' | 'resident' | 'demand';
export const LOAD_POLICIES: readonly LoadPolicy[] = ['auto', 'resident', 'demand'];

export const UFFD_SPLITS = ['one', 'per-vcpu'] as const;

export const MEMORY_ERROR_POLICIES: readonly MemoryErrorPolicy[] = ['inject', 'stop'];

export const STRATEGIES: readonly Strategy[] = ['no-slow-gup', 'no-uffd-wait'];
export const MAX_VCPUS = 64;
export const MAX_HANDLERS = 64;
export const DEFAULT_SOURCE_RETRIES = 3;
/** Unless told otherwise: as fast as it goes is faster than a guest can take. */
const DISCARD_BYTES_PER_SECOND = 64 * 2 ** 20;
/** Neighbours of a fault: what fits into 64 MiB is refused by whoever knows the unit. */
const MAX_AROUND = 16383;
/** @throws UsageError naming the option that cannot be used */
export function completeConfig(options: RunOptions): MachineConfig {
  const backing = findBacking(options.backing ?? 'shmem');
  const unitBytes = options.unitBytes ?? backing.pageBytes;
  if (!Number.isInteger(Math.log2(unitBytes)) || unitBytes < 4096) {
    throw new UsageError(
      `--unit ${unitBytes} is not a power of two from 4096 on`,
      'Use 4K, 8K, … 2M.',
    );
  }
  const memoryBytes = options.memoryBytes ?? 256 * 2 ** 20;
  if (memoryBytes < MIN_MEMORY_BYTES || memoryBytes > MAX_MEMORY_BYTES) {
    throw new UsageError(
      `--memory ${formatSize(memoryBytes)} is not between ${MIN_MEMORY_BYTES / 2 ** 20}M and ${MAX_MEMORY_BYTES / 2 ** 30}G`,
    );
  }
  if (memoryBytes % Math.max(unitBytes, 4096) !== 0) {
    throw new UsageError(
      `--memory ${memoryBytes} is not a multiple of the fault unit of ${unitBytes} bytes`,
      `Ask for a multiple of ${formatSize(unitBytes)}.`,
    );
  }
  const asked = oneOf('--delivery', options.delivery ?? 'auto', ['auto', ...DELIVERY_NAMES]);
  const exitBy = checkExitBy(options.exitBy ?? 'auto', asked);
  const delivery = asked === 'auto' && exitBy !== 'auto' ? 'exit' : asked;
  const around = options.around === 'adaptive' ? 'adaptive' : checkAround(options.around ?? 0);
  const collapse = oneOf('--collapse', options.collapse ?? 'never', COLLAPSE_POLICIES);
  const discard = checkBackground('--discard', options.discard, DISCARD_BYTES_PER_SECOND);
  const prefetch = checkBackground('--prefetch', options.prefetch, null);
  const network = checkNetwork(options.network ?? null);
  const delayMicroseconds = options.delayMicroseconds ?? 0;
  checkDelay(delayMicroseconds);
  const failSource = options.failSource ?? [];
  for (const fault of failSource) {
    checkFault(fault, memoryBytes);
  }
  const reserve = options.reserve ?? true;
  const refusal = whyRefused(backing, {
    ...(delivery !== 'auto' && { delivery }),
    unitBytes,
    around,
    collapse,
    prefetch: prefetch !== null,
    network: network !== null,
    delay: delayMicroseconds > 0,
    failSource: failSource.length > 0,
    discard: discard !== null,
    poison: options.poison !== undefined && options.poison.length > 0,
    ...(options.uffds !== undefined && { uffds: options.uffds }),
    reserve,
  });
  if (refusal !== null) {
    throw new UsageError(
      `${refusal.flag} cannot be used as given with --backing ${backing.name}${delivery === 'auto' ? '' : ` and --delivery ${delivery}`}: ${refusal.reason}`,
    );
  }
  const { firmware = false, commandLine = '', initrd = null } = options;
  if (firmware) {
    checkFirmware(memoryBytes, commandLine, initrd);
  }
  const { traceLocks = false, countFaultRetries = false, countKernelCalls = false } = options;
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
    firmware,
    memoryBytes,
    backing: backing.name as BackingName,
    reserve,
    delivery,
    exitBy,
    strategy: oneOf('--strategy', options.strategy ?? 'no-slow-gup', STRATEGIES),
    unitBytes,
    around,
    collapse,
    prefetch,
    discard,
    writers: checkWriters(options.writers ?? null),
    vcpus: within('--vcpus', options.vcpus ?? 1, MAX_VCPUS),
    handlers: within('--handlers', options.handlers ?? 1, MAX_HANDLERS),
    uffds: oneOf('--uffds', options.uffds ?? 'one', UFFD_SPLITS),
    source: checkSource(options.source ?? { kind: 'pattern', seed: DEFAULT_SEED }),
    network,
    delayMicroseconds,
    poison: checkPoison(options.poison ?? [], memoryBytes),
    onMemoryError: oneOf(
      '--on-memory-error',
      options.onMemoryError ?? 'stop',
      MEMORY_ERROR_POLICIES,
    ),
    failSource,
    sourceRetries: checkRetries(options.sourceRetries ?? DEFAULT_SOURCE_RETRIES),
    load: oneOf('--load', options.load ?? 'auto', LOAD_POLICIES),
    commandLine,
    initrd,
    pin,
    params: options.params ?? {},
    timeoutSeconds,
    countKernelEvents:
      (options.countKernelEvents ?? true) || traceLocks || countFaultRetries || countKernelCalls,
    traceLocks,
    countFaultRetries,
    countKernelCalls,
  };
}

function checkExitBy(exitBy: ExitBy | 'auto', delivery: DeliveryName | 'auto'): ExitBy | 'auto' {
  if (exitBy !== 'auto' && delivery !== 'exit' && delivery !== 'auto') {
    throw new UsageError(
      `--exit-by ${exitBy} is for delivery exit`,
      `Leave --delivery ${delivery} out.`,
    );
  }
  return oneOf('--exit-by', exitBy, ['auto', ...EXITS_BY]);
}

function oneOf<Name extends string>(flag: string, value: Name, names: readonly string[]): Name {
  if (!names.includes(value)) {
    throw new UsageError(`${flag} ${value} is none of ${names.join(', ')}`);
  }
  return value;
}

function checkAround(neighbours: number): number {
  if (!Number.isInteger(neighbours) || neighbours < 0 || neighbours > MAX_AROUND) {
    throw new UsageError(
      `--around ${neighbours} is neither a whole number from 0 to ${MAX_AROUND} nor adaptive`,
    );
  }
  return neighbours;
}

function checkPoison(poison: readonly number[], memoryBytes: number): readonly number[] {
  for (const gpa of poison) {
    if (!Number.isInteger(gpa) || gpa < 0 || gpa >= memoryBytes) {
      throw new UsageError(
        `--poison 0x${gpa.toString(16)} is not in guest memory, which ends at 0x${memoryBytes.toString(16)}`,
      );
    }
  }
  return poison;
}

function checkBackground(
  flag: string,
  background: Background | null | undefined,
  fallback: number | null,
): Background | null {
  if (!background) {
    return null;
  }
  const { bytesPerSecond } = background;
  if (bytesPerSecond !== null && !(bytesPerSecond > 0)) {
    throw new UsageError(`${flag} background:${bytesPerSecond} is not a rate above 0`);
  }
  return { bytesPerSecond: bytesPerSecond ?? fallback };
}

function within(flag: string, value: number, most: number): number {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new UsageError(`${flag} ${value} is not a whole number from 1 to ${most}`);
  }
  return value;
}
