import { DefectError, GuestError } from '../../src/ffi/errors.js';
import { DELIVERIES } from '../../src/machine/delivery.js';
import { WORKLOAD_START } from '../../src/machine/guest-physical-map.js';
import type { ThreadLocks } from '../../src/machine/run-result.js';
import type { ContentionRun } from './contention.js';

/**
 * A run's counters held against each other: what they say in two ways must be the same.
 *
 * @throws DefectError for a run whose figures contradict each other
 * @throws GuestError for one whose trace is not complete
 */
export function checkRun(run: ContentionRun): void {
  const { prefilled } = DELIVERIES[run.delivery.used];
  const units = unitsTouched(run);
  if (prefilled && run.faults.count < units) {
    // Of private memory nothing is left to map; a huge page is mapped at once.
    throw new GuestError(
      `delivery ${run.delivery.used} of ${run.config.backing} is not compared with others: the kernel served ${run.faults.count} faults for ${units} fault units`,
      'Leave it out, as by --delivery handler,exit.',
    );
  }
  const wrong = faultsWrong(run) ?? writersWrong(run) ?? locksWrong(run);
  if (wrong !== null) {
    throw new DefectError(`a run of ${run.label} (${run.part}) contradicts itself: ${wrong}`);
  }
  const lost = run.locks?.reduce((total, locks) => total + (locks.lost ?? 0), 0) ?? 0;
  if (lost > 0) {
    throw new GuestError(
      `the trace of ${run.label} is not complete: ${lost} events did not fit into its rings`,
      'Use fewer --pages or a lower --writer-rate.',
    );
  }
}

/** Fault units that hold the pages that the guest touched. */
function unitsTouched({ pages, config }: ContentionRun): number {
  const first = Math.floor(WORKLOAD_START / config.unitBytes);
  const bytes = (pages.touched ?? 0) * 4096;
  return Math.ceil((WORKLOAD_START + bytes) / config.unitBytes) - first;
}

function faultsWrong(run: ContentionRun): string | null {
  const { delivery, faults, pages } = run;
  if (pages.verified !== pages.touched || pages.touched === null) {
    return `${pages.verified} of ${pages.touched} pages verified`;
  }
  if (DELIVERIES[delivery.used].prefilled) {
    return null;
  }
  const units = unitsTouched(run);
  const { installed } = faults.outcomes;
  return installed === units && faults.count >= units
    ? null
    : `${faults.count} faults brought in ${installed} fault units, and the guest touched ${units}`;
}

/** A run shorter than this many seconds can be over before a writer has had a CPU. */
const WRITERS_HAVE_STARTED = 0.1;

function writersWrong({ background, config, guestSeconds }: ContentionRun): string | null {
  const { threads } = config.writers ?? { threads: 0 };
  if (guestSeconds === null || guestSeconds < WRITERS_HAVE_STARTED) {
    return null;
  }
  const working = background.filter(({ chore, count }) => chore === 'writer' && count > 0).length;
  return working === threads ? null : `${working} of ${threads} writers changed anything`;
}

function locksWrong(run: ContentionRun): string | null {
  const { locks, part, perFault, faults } = run;
  if (part === 'timed') {
    return null;
  }
  if (locks === null || perFault.mmapLockAcquisitions === null) {
    return 'mmap_lock was not counted';
  }
  const serving = locks.filter(({ threads }) => threads !== 'writers');
  const split = serving.reduce(
    (sum, { read, write, failed }) => sum + read.acquisitions + write.acquisitions + failed,
    0,
  );
  const all = Math.round(perFault.mmapLockAcquisitions * faults.count);
  if (split !== all) {
    return `mmap_lock was taken ${all} times, and ${split} times by mode`;
  }
  return part === 'traced' ? traceWrong(locks) : null;
}

function traceWrong(locks: readonly ThreadLocks[]): string | null {
  for (const { threads, read, write, lost, unmatched, foreign } of locks) {
    if (read.traced === null || write.traced === null || foreign === null) {
      return 'mmap_lock was not traced';
    }
    if (lost !== 0) {
      continue; // said by the caller, who knows what to do about it
    }
    if (unmatched !== 0) {
      return `${unmatched} events in the trace of ${threads} do not follow from those before`;
    }
    const counted = read.acquisitions + write.acquisitions;
    const traced = read.traced + write.traced + foreign;
    if (counted !== traced || (foreign === 0 && write.traced !== write.acquisitions)) {
      return `of ${threads}, ${counted} acquisitions of mmap_lock were counted (${write.acquisitions} for write) and ${traced} traced (${write.traced} for write)`;
    }
  }
  return null;
}

/**
 * @throws GuestError unless the runs differ in nothing but their delivery and their writers
 */
export function checkAlike(runs: readonly ContentionRun[]): void {
  const [first, ...others] = runs;
  for (const run of others) {
    for (const name of ALIKE) {
      const [ours, theirs] = [
        JSON.stringify(first!.config[name]),
        JSON.stringify(run.config[name]),
      ];
      if (ours !== theirs) {
        throw new GuestError(
          `runs that differ in ${name} are not compared: ${first!.label} has ${ours}, ${run.label} has ${theirs}`,
        );
      }
    }
    if (run.pages.touched !== first!.pages.touched) {
      throw new GuestError(
        `runs that touched ${first!.pages.touched} and ${run.pages.touched} pages are not compared`,
      );
    }
  }
}

const ALIKE = [
  'memoryBytes',
  'backing',
  'unitBytes',
  'around',
  'collapse',
  'vcpus',
  'source',
  'network',
  'pin',
  'params',
] as const;
