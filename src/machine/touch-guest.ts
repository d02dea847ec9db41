import { UsageError } from '../ffi/errors.js';
import type { ContentsSpec } from '../source/open-source.js';
import type { PageSource } from '../source/page-source.js';
import { PatternSource, patternBase } from '../source/pattern-source.js';
import { WORKLOAD_START } from './guest-physical-map.js';

/** The constants of guest-images/abi.h and touch.S; a test compares them. */
export const WRITE_SALT = 0xa5a5a5a5;
export const TOUCH_ORDERS = ['sequential', 'random', 'strided'] as const;

export type TouchOrder = (typeof TOUCH_ORDERS)[number];

/** Parameters of the `touch` guest. */
export interface TouchParameters {
  /** Pages of 4 KiB to touch. */
  readonly pages: number;
  readonly order: TouchOrder;
  /** Percentage of pages that are written with a second pattern. */
  readonly writePercent: number;
  readonly passes: number;
  /** `partition`: each vCPU has its own share; `overlap`: every vCPU touches all pages. */
  readonly share: 'partition' | 'overlap';
  /** Of the random order. */
  readonly seed: number;
  /** Pages between neighbours in strided order, of those that are touched. */
  readonly stride: number;
  /** Only every page of this many is touched: `pages` of them, over `pages * every`. */
  readonly every: number;
}

/** Names, as after `--param`, with what they mean; the defaults are in {@link parseTouch}. */
export const TOUCH_PARAMETERS: Readonly<Record<string, string>> = {
  pages: 'pages of 4 KiB to touch (default: all above the first 2 MiB)',
  order: 'sequential (default), random or strided',
  write: 'percentage of pages that are written, 0 to 100 (default 0)',
  passes: 'how often all pages are visited (default 1)',
  share: 'partition (default: each vCPU has its share) or overlap (each touches all)',
  seed: 'of the random order (default 1)',
  stride: 'pages between neighbours in strided order (default 512)',
  every: 'touches one page of every N only, N times as far apart (default 1)',
};

/**
 * @param given the values after `--param`
 * @throws UsageError naming the parameter that cannot be used
 */
export function parseTouch(
  given: Readonly<Record<string, string>>,
  memoryBytes: number,
): TouchParameters {
  const room = (memoryBytes - WORKLOAD_START) / 4096;
  const every = wholeParameter(given, 'every', 1, 1, room);
  const most = Math.floor(room / every);
  const pages = wholeParameter(given, 'pages', most, 1, most);
  return {
    pages,
    order: parameterOneOf(given, 'order', TOUCH_ORDERS),
    writePercent: wholeParameter(given, 'write', 0, 0, 100),
    passes: wholeParameter(given, 'passes', 1, 1, 1_000_000),
    share: parameterOneOf(given, 'share', ['partition', 'overlap'] as const),
    seed: wholeParameter(given, 'seed', 1, 0, 0xffff_ffff),
    stride: wholeParameter(given, 'stride', 512, 1, 2 ** 31),
    every,
  };
}

/** The parameter block of touch.S. */
export function encodeTouch(parameters: TouchParameters, source: ContentsSpec): Uint8Array {
  const { pages, order, writePercent, passes, share, seed, stride, every } = parameters;
  return new Uint8Array(
    BigUint64Array.from(
      [
        WORKLOAD_START,
        pages,
        TOUCH_ORDERS.indexOf(order),
        writePercent,
        passes,
        patternSeedOf(source),
        share === 'overlap' ? 1 : 0,
        stride,
        seed,
        source.kind === 'zero' ? 1 : 0,
        every,
      ],
      BigInt,
    ).buffer,
  );
}

/** Whether the guest touches page `page` (GPA / 4096). */
export function touchesPage({ pages, every }: TouchParameters, page: number): boolean {
  const offset = page - WORKLOAD_START / 4096;
  return offset >= 0 && offset < pages * every && offset % every === 0;
}

/** The seed of the choice of written pages, and of what is written there, whatever the source. */
export function patternSeedOf(source: ContentsSpec): number {
  return source.kind === 'pattern' ? source.seed : 0;
}

/**
 * What each page must contain after the guest has completed.
 *
 * @returns for a page number (GPA / 4096) the source whose contents it must have, where that is not
 * the run's own source; the same choice as touch.S makes
 */
export function touchedContents(
  parameters: TouchParameters,
  source: ContentsSpec,
): (page: number) => PageSource | null {
  const seed = patternSeedOf(source);
  const written = new PatternSource(~seed);
  return (page) => {
    const choice = (patternBase(page, seed ^ WRITE_SALT) >>> 0) % 100;
    return touchesPage(parameters, page) && choice < parameters.writePercent ? written : null;
  };
}

/** What one vCPU of a `touch` guest reported through its ports. */
export interface TouchReport {
  /** Visits of pages: pages times passes. */
  readonly pagesVisited: number;
  readonly wordsCompared: number;
  readonly wordsMismatched: number;
  /** GPA of the first wrong word, or null. */
  readonly firstMismatch: number | null;
  /** The slowest first access, in TSC cycles. */
  readonly maxCycles: number;
  readonly cycles: number;
}

/** Report words 2 * `at` and the one after it: a 64-bit number. */
export function reportPair(report: Uint32Array, at: number): number {
  return report[at * 2]! + report[at * 2 + 1]! * 0x1_0000_0000;
}

export function decodeTouch(report: Uint32Array): TouchReport {
  const pair = (at: number): number => reportPair(report, at);
  return {
    pagesVisited: pair(0),
    wordsCompared: pair(1),
    wordsMismatched: pair(2),
    firstMismatch: pair(3) === 0 ? null : pair(3),
    maxCycles: pair(4),
    cycles: pair(5),
  };
}

export function wholeParameter(
  given: Readonly<Record<string, string>>,
  name: string,
  fallback: number,
  least: number,
  most: number,
): number {
  const text = given[name];
  if (text === undefined) {
    return fallback;
  }
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new UsageError(
      `--param ${name}=${text} is not a whole number from ${least} to ${most}`,
      name === 'pages' ? 'Give more --memory for more pages.' : '',
    );
  }
  return value;
}

export function parameterOneOf<const Name extends string>(
  given: Readonly<Record<string, string>>,
  name: string,
  names: readonly Name[],
): Name {
  const text = given[name] ?? names[0]!;
  const found = names.find((candidate) => candidate === text);
  if (found === undefined) {
    throw new UsageError(`--param ${name}=${text} is none of ${names.join(', ')}`);
  }
  return found;
}
