import { fileURLToPath } from 'node:url';
import { UsageError } from '../ffi/errors.js';
import type { PageSource } from '../source/page-source.js';
import { WORKLOAD_START } from './guest-physical-map.js';
import type { MachineConfig } from './machine-config.js';
import { complaintOfMce, decodeMce, encodeMce, MCE_PARAMETERS, parseMce } from './mce-guest.js';
import {
  decodeTouch,
  encodeTouch,
  parseTouch,
  TOUCH_PARAMETERS,
  type TouchReport,
  touchedContents,
  touchesPage,
} from './touch-guest.js';

/** What a run of an image is given, and what it must leave behind. */
export interface Workload {
  /** Goes to where the image's note says; null for an image that takes no parameters. */
  readonly parameterBlock: Uint8Array | null;
  /** As given after `--param`, completed with defaults. */
  readonly parameters: Readonly<Record<string, string | number>>;
  /** Pages it touches when it completes, or null when that is not known beforehand. */
  readonly pagesTouched: number | null;
  /** Whether it touches page `page` (GPA / 4096). */
  readonly touches: (page: number) => boolean;
  /**
   * The source whose contents page `page` must have afterwards, null for the run's own
   * source. Null instead of the function: this image's memory cannot be verified.
   */
  readonly contents: ((page: number) => PageSource | null) | null;
  /** GPAs between which pages may be discarded while it runs; null where it would lose something. */
  readonly discardable: { readonly start: number; readonly end: number } | null;
  /** Judges the report words of all vCPUs, which have ended. */
  readonly judge: (reports: readonly Uint32Array[]) => Judgement;
}

/** What the vCPUs' reports say. Fields are null where the image reports no such thing. */
export interface Judgement {
  /** Visits of pages, which are more than pages where there are passes or overlap. */
  readonly visits: number | null;
  /** A sentence when the guest saw something wrong. */
  readonly complaint: string | null;
  /** The slowest first access, in TSC cycles. */
  readonly maxCycles: number | null;
}

/** What of a machine's configuration a workload depends on. */
export type WorkloadConfig = Pick<
  MachineConfig,
  'params' | 'source' | 'memoryBytes' | 'vcpus' | 'unitBytes'
>;

export interface BundledGuest {
  readonly name: string;
  readonly file: string;
  readonly description: string;
  /** What `--param` takes. */
  readonly parameters: Readonly<Record<string, string>>;
  plan(config: WorkloadConfig): Workload;
}

const NOTHING_TO_JUDGE: Judgement = { visits: null, complaint: null, maxCycles: null };

export const BUNDLED_GUESTS: readonly BundledGuest[] = [
  {
    name: 'hello',
    file: 'hello.bin',
    description: '16-bit real mode; every vCPU writes a line to the serial port',
    parameters: {},
    plan: () => ({
      parameterBlock: null,
      parameters: {},
      pagesTouched: null,
      touches: () => false,
      contents: () => null, // it writes no memory but its own
      discardable: null,
      judge: () => NOTHING_TO_JUDGE,
    }),
  },
  {
    name: 'touch',
    file: 'touch.elf',
    description: '64-bit, CPL3; touches pages, checks every word, times every first access',
    parameters: TOUCH_PARAMETERS,
    plan: ({ params, source, memoryBytes, vcpus }) => {
      const parameters = parseTouch(params, memoryBytes);
      const { pages, order, writePercent, passes, share, seed, stride, every } = parameters;
      const visits = pages * passes * (share === 'overlap' ? vcpus : 1);
      return {
        parameterBlock: encodeTouch(parameters, source),
        parameters: { pages, order, write: writePercent, passes, share, seed, stride, every },
        pagesTouched: pages,
        touches: (page) => touchesPage(parameters, page),
        contents: touchedContents(parameters, source),
        discardable: writePercent === 0 ? { start: WORKLOAD_START, end: memoryBytes } : null,
        judge: (reports) => judgeTouch(reports.map(decodeTouch), visits),
      };
    },
  },
  {
    name: 'mce',
    file: 'mce.elf',
    description:
      '64-bit; touches pages at CPL3, and takes machine checks about those that cannot be had (--on-memory-error inject)',
    parameters: MCE_PARAMETERS,
    plan: ({ params, source, memoryBytes, vcpus, unitBytes }) => {
      const parameters = parseMce(params, memoryBytes);
      const { pages, share } = parameters;
      const visits = pages * (share === 'overlap' ? vcpus : 1);
      const first = WORKLOAD_START / 4096;
      return {
        parameterBlock: encodeMce(parameters, source, unitBytes),
        parameters: { pages, share },
        pagesTouched: pages,
        touches: (page) => page >= first && page < first + pages,
        contents: () => null, // it writes no memory but its own
        discardable: { start: WORKLOAD_START, end: memoryBytes },
        judge: (reports) => ({
          visits,
          complaint: complaintOfMce(reports.map(decodeMce), visits),
          maxCycles: null,
        }),
      };
    },
  },
];

function judgeTouch(reports: readonly TouchReport[], expectedVisits: number): Judgement {
  const visits = reports.reduce((sum, report) => sum + report.pagesVisited, 0);
  const maxCycles = Math.max(...reports.map((report) => report.maxCycles));
  const wrong = reports.find((report) => report.wordsMismatched > 0);
  let complaint: string | null = null;
  if (wrong !== undefined) {
    complaint = `the guest found ${wrong.wordsMismatched} of ${wrong.wordsCompared} words wrong, the first at GPA 0x${wrong.firstMismatch?.toString(16)}`;
  } else if (visits !== expectedVisits) {
    complaint = `the guest visited ${visits} pages, not ${expectedVisits}`;
  } else if (reports.some((report) => report.wordsCompared !== report.pagesVisited * 1024)) {
    complaint = 'the guest did not compare every word of the pages it visited';
  }
  return { visits, complaint, maxCycles };
}

/** An image named by path: nothing is known of what it does. */
export function planUnknown(given: Readonly<Record<string, string>>): Workload {
  const [name] = Object.keys(given);
  if (name !== undefined) {
    throw new UsageError(`--param ${name} is only for bundled guests`);
  }
  return {
    parameterBlock: null,
    parameters: {},
    pagesTouched: null,
    touches: () => false,
    contents: null,
    discardable: null,
    judge: () => NOTHING_TO_JUDGE,
  };
}

export function findBundled(name: string): BundledGuest | undefined {
  return BUNDLED_GUESTS.find((guest) => guest.name === name);
}

/** Where the build puts a bundled guest. */
export function pathOfBundled(guest: BundledGuest): string {
  return fileURLToPath(new URL(`../../guest-images/${guest.file}`, import.meta.url));
}

/** @throws UsageError for a `--param` the guest does not take */
export function checkParameters(
  guest: BundledGuest,
  given: Readonly<Record<string, string>>,
): void {
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(guest.parameters, name)) {
      const known = Object.keys(guest.parameters).join(', ');
      throw new UsageError(
        `${guest.name} has no parameter ${name}`,
        known === '' ? 'It has none.' : `It has: ${known}.`,
      );
    }
  }
}
