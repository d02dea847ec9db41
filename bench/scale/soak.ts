import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { GuestError, InterruptedError } from '../../src/ffi/errors.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { describeHost } from '../../src/measure/host.js';
import { count, figure } from '../../src/report/figures.js';
import { commandOf } from '../../src/report/run-command.js';
import type { Holdings, SoakRun, SoakSummary } from '../../src/report/soak-result.js';
import type { Bench } from './bench.js';
import { Dice, drawRun, SOAK_MEMORY_BYTES, usableBackings } from './soak-plan.js';

const DEFAULTS = { minutes: 1, seed: 1 } as const;
/** In which the process opens what it opens once. */
const WARM_UP_RUNS = 3;
/** Threads of libuv and V8 come and go. */
const SPARE_THREADS = 8;

export const soak: Bench<SoakRun, SoakSummary> = {
  name: 'soak',
  description:
    'runs of everything together, drawn by lot: every one must complete and verify, and leave nothing',
  extent: `${DEFAULTS.minutes} minute, seed ${DEFAULTS.seed}`,
  takes: ['minutes', 'seed'],

  async run(given) {
    const { minutes, seed, signal, onStep } = { ...DEFAULTS, ...given };
    const startedAt = new Date().toISOString();
    const began = performance.now();
    const seconds = (): number => (performance.now() - began) / 1000;
    const dice = new Dice(seed);
    const backings = usableBackings(SOAK_MEMORY_BYTES);
    const runs: SoakRun[] = [];
    let before = look();
    while (seconds() < minutes * 60 || runs.length <= WARM_UP_RUNS) {
      const options = drawRun(dice, backings);
      const command = commandOf(options);
      onStep?.(Math.min(Math.floor(seconds()), minutes * 60), Math.ceil(minutes * 60), command);
      const { outcome, error, faults, pages, wallSeconds } = await runGuest({
        ...options,
        ...(signal && { signal }),
      });
      if (error?.code === 'interrupted') {
        throw new InterruptedError(`the soak was interrupted; ${runs.length} runs were clean`);
      }
      const again = `By itself: ${command}`;
      const which = `run ${runs.length + 1} of seed ${seed}`;
      if (outcome !== 'completed' || pages.verified === null) {
        throw new GuestError(
          `not clean: ${which} ended as ${outcome}: ${error?.message ?? 'nothing verified'}`,
          again,
        );
      }
      runs.push({
        command,
        seconds: wallSeconds,
        faults: faults.count,
        pagesVerified: pages.verified,
        pagesPoisoned: pages.poisoned ?? 0,
      });
      const now = look();
      if (runs.length <= WARM_UP_RUNS) {
        before = now;
      } else {
        const left = leftBehind(before, now);
        if (left !== null) {
          throw new GuestError(`not clean: ${which} left ${left}`, again);
        }
      }
    }
    const sum = (name: 'faults' | 'pagesVerified' | 'pagesPoisoned'): number =>
      runs.reduce((total, run) => total + run[name], 0);
    return {
      schema: 'faultline.bench/1',
      bench: 'soak',
      host: describeHost(),
      startedAt,
      command: `faultline bench soak --minutes ${minutes} --seed ${seed}`,
      constant: { memoryBytes: SOAK_MEMORY_BYTES, backings: backings.join(',') },
      runs,
      summary: {
        minutes: seconds() / 60,
        seed,
        runs: runs.length,
        faults: sum('faults'),
        pagesVerified: sum('pagesVerified'),
        pagesPoisoned: sum('pagesPoisoned'),
        before,
        after: look(),
      },
    };
  },

  describe: ({ summary, constant }) => {
    const { minutes, seed, runs, faults, pagesVerified, pagesPoisoned, before, after } = summary;
    const mappings = after.mappings - before.mappings;
    const mebibytes = (after.residentBytes - before.residentBytes) / 2 ** 20;
    return [
      `clean: ${count(runs)} runs in ${figure(minutes, 1)} minutes (seed ${seed}), ${count(faults)} faults, ${count(pagesVerified)} pages verified, 0 wrong, ${count(pagesPoisoned)} failed as told, nothing of ours left`,
      '',
      `Backings: ${constant.backings}. Each run: touch or mce with options drawn by lot; the JSON names them.`,
      `Nothing of ours left: descriptors, guest mappings and threads after every run as before. The process grew by ${figure(mebibytes, 0)} MiB and ${count(mappings)} mappings, which koffi leaves for threads that have ended.`,
    ].join('\n');
  },
};

function look(): Holdings {
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n');
  const names = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // the one that readdir itself was reading from
    }
  });
  return {
    descriptors: names.filter((name) =>
      /kvm|userfaultfd|memfd|eventfd|perf_event|\/tmp|\(deleted\)/.test(name),
    ).length,
    guestMappings: maps.filter((line) => /faultline|kvm-vcpu/.test(line)).length,
    mappings: maps.length,
    threads: readdirSync('/proc/self/task').length,
    residentBytes: process.memoryUsage.rss(),
  };
}

function leftBehind(before: Holdings, now: Holdings): string | null {
  if (now.descriptors > before.descriptors) {
    return `${now.descriptors - before.descriptors} descriptors open`;
  }
  if (now.guestMappings > before.guestMappings) {
    return `${now.guestMappings - before.guestMappings} guest mappings`;
  }
  return now.threads > before.threads + SPARE_THREADS
    ? `${now.threads - before.threads} threads`
    : null;
}
