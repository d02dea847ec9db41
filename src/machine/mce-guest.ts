import type { ContentsSpec } from '../source/open-source.js';
import { WORKLOAD_START } from './guest-physical-map.js';
import { parameterOneOf, patternSeedOf, reportPair, wholeParameter } from './touch-guest.js';

/** Parameters of the `mce` guest. */
export interface MceParameters {
  /** Pages of 4 KiB to touch. */
  readonly pages: number;
  /** `partition`: each vCPU has its own share; `overlap`: every vCPU touches all pages. */
  readonly share: 'partition' | 'overlap';
}

/** Names, as after `--param`, with what they mean. */
export const MCE_PARAMETERS: Readonly<Record<string, string>> = {
  pages: 'pages of 4 KiB to touch (default: all above the first 2 MiB)',
  share: 'partition (default: each vCPU has its share) or overlap (each touches all)',
};

/** @throws UsageError naming the parameter that cannot be used */
export function parseMce(
  given: Readonly<Record<string, string>>,
  memoryBytes: number,
): MceParameters {
  const room = (memoryBytes - WORKLOAD_START) / 4096;
  return {
    pages: wholeParameter(given, 'pages', room, 1, room),
    share: parameterOneOf(given, 'share', ['partition', 'overlap'] as const),
  };
}

/** The parameter block of mce.S. */
export function encodeMce(
  { pages, share }: MceParameters,
  source: ContentsSpec,
  unitBytes: number,
): Uint8Array {
  const words = [
    WORKLOAD_START,
    pages,
    patternSeedOf(source),
    source.kind === 'zero' ? 1 : 0,
    share === 'overlap' ? 1 : 0,
    Math.log2(unitBytes),
  ];
  return new Uint8Array(BigUint64Array.from(words, BigInt).buffer);
}

/** What one vCPU of an `mce` guest reported through its ports. */
export interface MceReport {
  readonly pagesVisited: number;
  readonly wordsCompared: number;
  readonly wordsMismatched: number;
  /** GPA of the first wrong word, or null. */
  readonly firstMismatch: number | null;
  readonly machineChecks: number;
  /** Those whose bank named the page that was being touched. */
  readonly rightAddresses: number;
}

export function decodeMce(report: Uint32Array): MceReport {
  const pair = (at: number): number => reportPair(report, at);
  return {
    pagesVisited: pair(0),
    wordsCompared: pair(1),
    wordsMismatched: pair(2),
    firstMismatch: pair(3) === 0 ? null : pair(3),
    machineChecks: pair(4),
    rightAddresses: pair(5),
  };
}

/**
 * A sentence when the guests saw something wrong.
 *
 * @param expected visits of all vCPUs, to pages that fail too
 */
export function complaintOfMce(reports: readonly MceReport[], expected: number): string | null {
  const sum = (name: keyof MceReport): number =>
    reports.reduce((total, report) => total + (report[name] ?? 0), 0);
  const visits = sum('pagesVisited');
  const checks = sum('machineChecks');
  const wrong = reports.find((report) => report.wordsMismatched > 0);
  if (wrong !== undefined) {
    return `the guest found ${wrong.wordsMismatched} of ${wrong.wordsCompared} words wrong, the first at GPA 0x${wrong.firstMismatch?.toString(16)}`;
  }
  if (visits + checks !== expected) {
    return `the guest visited ${visits} pages and took ${checks} machine checks, which is not ${expected} together`;
  }
  if (sum('rightAddresses') !== checks) {
    return `${checks - sum('rightAddresses')} of ${checks} machine checks did not name the page that was being touched`;
  }
  return sum('wordsCompared') === visits * 1024
    ? null
    : 'the guest did not compare every word of the pages it visited';
}
