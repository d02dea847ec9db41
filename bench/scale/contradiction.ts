import { OUTCOMES } from '../../src/fault/outcome.js';
import { WORKLOAD_START } from '../../src/machine/guest-physical-map.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { latencyCount } from '../../src/measure/latency-histogram.js';

/** Clocks and rounding: the guest's TSC against ours, rates in whole pages. */
const TOLERANCE = 0.02;

/** A figure that must be another, or at least so much. */
type Claim = readonly [
  what: string,
  found: number,
  relation: '=' | '>=',
  wanted: number,
  of: string,
];

/**
 * What two figures of a completed run of `touch` say that cannot both be true, in a sentence; null
 * where all agree. Whatever counts wrongly, loses a fault or makes one up shows here, as long as it
 * does not do so everywhere alike.
 */
export function findContradiction(run: RunResult): string | null {
  for (const claims of [pageClaims, faultClaims, threadClaims, timeClaims]) {
    for (const [what, found, relation, wanted, of] of claims(run)) {
      const holds = relation === '=' ? found === wanted : found >= wanted;
      if (!holds) {
        const not = relation === '=' ? 'not' : 'not at least';
        return `${what} are ${found}, ${not} ${wanted} (${of})`;
      }
    }
  }
  return null;
}

function* pageClaims({ pages, config, memoryErrors, source }: RunResult): Generator<Claim> {
  const { touched, verified, mismatched, poisoned, discarded } = pages;
  const asked = Number(config.params.pages);
  yield ['pages touched', touched ?? Number.NaN, '=', asked, 'as asked'];
  yield ['pages verified', (verified ?? 0) + (discarded ?? 0), '=', asked, 'all that were touched'];
  yield ['wrong pages', mismatched ?? Number.NaN, '=', 0, 'of a run that completed'];
  yield ['poisoned pages', poisoned ?? Number.NaN, '=', 0, 'of a run that completed'];
  yield ['memory errors', memoryErrors.count, '=', 0, 'of a run that completed'];
  yield ['failures of the source', source?.failures ?? 0, '=', 0, 'of a run that completed'];
}

function* faultClaims(run: RunResult): Generator<Claim> {
  const { faults, config, background, delivery } = run;
  const { count, neighbours, outcomes } = faults;
  const all = OUTCOMES.reduce((sum, name) => sum + outcomes[name], 0);
  if (delivery.used === 'kernel') {
    yield ['outcomes', all + neighbours, '=', 0, 'no fault is ours under delivery kernel'];
    return;
  }
  // A handler sees to it itself that a fault is made again: those come on top.
  const ended = delivery.used === 'handler' ? all - outcomes.retried : all;
  yield ['outcomes of faults', ended, '=', count, 'faults'];
  const units = unitsTouched(run);
  if (units !== null && config.discard === null) {
    const prefetched = background.find(({ chore }) => chore === 'prefetch')?.count ?? 0;
    const brought = outcomes.installed + neighbours + prefetched;
    // khugepaged may have mapped one before us, which is then found there.
    const found = outcomes.present + outcomes.remapped;
    yield ['fault units brought in', brought + found, '>=', units, 'those touched'];
    if (config.around === 0 && config.prefetch === null && config.collapse === 'never') {
      yield ['fault units touched', units, '>=', brought, 'those brought in'];
    }
  }
}

/** Fault units that are missing until the guest touches them; null where the image's are among them. */
function unitsTouched({ config }: RunResult): number | null {
  const { pages, every } = config.params;
  if (config.unitBytes > WORKLOAD_START) {
    return null;
  }
  const pagesPerUnit = config.unitBytes / 4096;
  return Number(every) >= pagesPerUnit
    ? Number(pages)
    : Math.ceil(((Number(pages) - 1) * Number(every) + 1) / pagesPerUnit);
}

function* threadClaims(run: RunResult): Generator<Claim> {
  const { perVcpu, perHandler, faults, perFault, config, delivery } = run;
  const kvmRuns = perVcpu.reduce((sum, vcpu) => sum + vcpu.kvmRuns, 0);
  yield ['vCPUs that ended', perVcpu.length, '=', config.vcpus, 'as many as there were'];
  yield [
    'vCPUs that ended well',
    perVcpu.filter(({ end, exitCode }) => end === 'exited' && exitCode === 0).length,
    '=',
    config.vcpus,
    'all of them',
  ];
  const visits = perVcpu.reduce((sum, { report }) => sum + visitsOf(report), 0);
  yield [
    'visits that the guest reported',
    visits,
    '=',
    firstAccesses(run) * Number(config.params.passes),
    'all',
  ];
  if (perFault.kvmRuns !== null) {
    const told = Math.round(perFault.kvmRuns * faults.count);
    yield ['KVM_RUN returns of all vCPUs', kvmRuns, '=', told, 'those per fault times faults'];
  }
  if (delivery.used === 'exit') {
    const own = perVcpu.reduce((sum, vcpu) => sum + (vcpu.faults ?? Number.NaN), 0);
    yield ['faults of all vCPUs', own, '=', faults.count, 'faults'];
    for (const { index, kvmRuns, faults: exits } of perVcpu) {
      yield [`KVM_RUN returns of vCPU ${index}`, kvmRuns, '>=', exits ?? 0, 'its faults'];
    }
  }
  if (delivery.used === 'handler') {
    yield ['handlers that ended', perHandler.length, '=', config.handlers, 'as many as there were'];
    const theirs = perHandler.reduce((sum, handler) => sum + handler.faults, 0);
    yield ['faults of all handlers', theirs, '=', faults.count, 'faults'];
  }
}

function* timeClaims(run: RunResult): Generator<Claim> {
  const { guestSeconds, wallSeconds, pagesPerSecond, pages, config, delivery, faults } = run;
  const seconds = guestSeconds ?? Number.NaN;
  yield ['seconds in all', wallSeconds, '>=', seconds, 'those of the guest'];
  const rate = (pages.touched ?? Number.NaN) / seconds;
  const off = Math.abs((pagesPerSecond ?? Number.NaN) - rate) <= 1 + rate * TOLERANCE;
  yield ['pages per second that follow from pages and time', Number(off), '=', 1, `${rate}`];
  const { latencyHistogram: histogram, latencyMicroseconds: latency } = run;
  if (histogram === null || latency === null) {
    yield ['histograms of first accesses', 0, '=', 1, 'touch times them all'];
    return;
  }
  yield [
    'first accesses in the histogram',
    latencyCount(histogram),
    '=',
    firstAccesses(run),
    'all',
  ];
  const { p50, p90, p99, p999, max } = latency;
  const sorted = p50 <= p90 && p90 <= p99 && p99 <= p999 && p999 <= max;
  yield ['percentiles in order', Number(sorted), '=', 1, [p50, p90, p99, p999, max].join(', ')];
  const least = histogram.counts.reduce(
    (sum, count, at) => sum + count * (histogram.fromMicroseconds[at] ?? Number.NaN),
    0,
  );
  const had = seconds * 1e6 * config.vcpus * (1 + TOLERANCE);
  yield ['microseconds that vCPUs had', had, '>=', least * (1 - TOLERANCE), 'their first accesses'];
  if (config.delayMicroseconds > 0 && delivery.used !== 'kernel') {
    const atOnce = delivery.used === 'handler' ? config.handlers : config.vcpus;
    const waited = (faults.outcomes.installed / atOnce) * config.delayMicroseconds;
    yield [
      'microseconds of the guest',
      seconds * 1e6,
      '>=',
      waited,
      'what its faults were delayed',
    ];
  }
}

function firstAccesses({ config }: RunResult): number {
  const { pages, share } = config.params;
  return Number(pages) * (share === 'overlap' ? config.vcpus : 1);
}

/** The first pair of words that touch reports: visits of pages. */
function visitsOf(report: readonly number[]): number {
  return (report[0] ?? Number.NaN) + (report[1] ?? Number.NaN) * 2 ** 32;
}
