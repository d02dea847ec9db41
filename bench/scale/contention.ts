import { GuestError, UnsupportedError } from '../../src/ffi/errors.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { describeHost } from '../../src/measure/host.js';
import { perfEvents } from '../../src/measure/perf-counters.js';
import {
  readVmaLockStatistics,
  type VmaLockStatistics,
} from '../../src/measure/vma-lock-statistics.js';
import type { ContentionSummary } from '../../src/report/contention-result.js';
import type { Bench } from './bench.js';
import { countCallLocks, uncontendedWait } from './contention-calls.js';
import { checkAlike, checkRun } from './contention-checks.js';
import {
  DEFAULTS,
  nameOfPin,
  optionsOf,
  PARTS,
  type Part,
  planContention,
  type Variant,
} from './contention-plan.js';
import { summarizeVariant } from './contention-summary.js';
import { describeContention } from './contention-text.js';
import { verifiedRun } from './verified-run.js';

/** A run, which row it belongs to, and what it was made for. */
export interface ContentionRun extends RunResult {
  readonly label: string;
  readonly part: Part;
}

const WARM_UPS = 1;

export const contention: Bench<ContentionRun, ContentionSummary> = {
  name: 'contention',
  description: 'where mmap_lock goes: taken, waited for and held per fault, beside writers too',
  extent: `${DEFAULTS.pages} pages for each of ${DEFAULTS.vcpus} vCPUs, ${DEFAULTS.repeat} repetitions, a minute`,
  takes: [
    'pages',
    'repeat',
    'vcpus',
    'delivery',
    'backing',
    'handlers',
    'uffds',
    'writers',
    'writerRate',
    'pin',
  ],

  async run(options) {
    const plan = planContention(options);
    const events = perfEvents(true, { locks: true, faults: 0 });
    if (events.mmapLock.value === null) {
      throw new UnsupportedError(`mmap_lock cannot be counted: ${events.mmapLock.why}`);
    }
    const startedAt = new Date().toISOString();
    const notMeasured: Record<string, string> = {};
    let parts: readonly Part[] = PARTS;
    if (typeof events.trace === 'string') {
      notMeasured.lockTimes = events.trace;
      parts = ['timed', 'counted'];
    }
    const vmaLocksBefore = readVmaLockStatistics();
    // One after the other, round by round, so that what changes with time changes for all.
    const steps = Array.from({ length: WARM_UPS + plan.repeat }, (_, round) =>
      (round < WARM_UPS ? (['timed'] as const) : parts).flatMap((part) =>
        plan.variants.map((variant): Step => ({ variant, part, kept: round >= WARM_UPS })),
      ),
    ).flat();
    const runs: ContentionRun[] = [];
    for (const [done, { variant, part, kept }] of steps.entries()) {
      options.onStep?.(done, steps.length, `${variant.label} (${kept ? part : 'warm-up'})`);
      const result = await verifiedRun({
        ...optionsOf(plan, variant, part, options),
        ...(options.signal && { signal: options.signal }),
        ...(options.onProgress && { onProgress: options.onProgress }),
      });
      if (part === 'traced' && result.notMeasured.locks !== undefined) {
        throw new GuestError(`mmap_lock could not be traced: ${result.notMeasured.locks}`);
      }
      const run = { ...result, label: variant.label, part };
      checkRun(run);
      for (const name of part === 'counted' ? ['pageFaultRetries', 'kvmExits'] : []) {
        const why = result.notMeasured[name];
        if (why !== undefined) {
          notMeasured[name] = why;
        }
      }
      if (kept) {
        runs.push(run);
      }
    }
    checkAlike(runs);
    const vmaLocks = difference(vmaLocksBefore, readVmaLockStatistics());
    if (typeof vmaLocks === 'string') {
      notMeasured.vmaLocks = vmaLocks;
    }
    const [{ config }] = runs as [ContentionRun];
    return {
      schema: 'faultline.bench/1',
      bench: 'contention',
      host: describeHost(),
      startedAt,
      command: plan.command,
      constant: {
        image: 'touch',
        pagesPerVcpu: plan.pages,
        write: 100,
        order: 'sequential',
        share: 'partition',
        vcpus: plan.vcpus,
        backing: plan.backing,
        unitBytes: config.unitBytes,
        memoryBytes: config.memoryBytes,
        handlers: plan.handlers,
        uffds: plan.uffds,
        writerRate: plan.writerRate,
        pin: nameOfPin(config.pin) || 'none',
      },
      runs,
      summary: {
        rows: plan.variants.map((variant) => summarizeVariant(plan, variant, runs)),
        calls: countCallLocks(events),
        notMeasured,
        uncontendedWaitMicroseconds: uncontendedWait(events),
        vmaLocks: typeof vmaLocks === 'string' ? null : vmaLocks,
        repeat: plan.repeat,
        warmUps: WARM_UPS,
      },
    };
  },

  describe: describeContention,
};

interface Step {
  readonly variant: Variant;
  readonly part: Part;
  /** Not a warm-up. */
  readonly kept: boolean;
}

function difference(
  before: VmaLockStatistics | string,
  after: VmaLockStatistics | string,
): VmaLockStatistics | string {
  if (typeof before === 'string' || typeof after === 'string') {
    return typeof before === 'string' ? before : (after as string);
  }
  return {
    success: after.success - before.success,
    abort: after.abort - before.abort,
    retry: after.retry - before.retry,
    miss: after.miss - before.miss,
  };
}
