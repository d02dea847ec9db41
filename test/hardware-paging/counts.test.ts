/** What a fault costs where the CPU walks page tables itself: counts, which are exact on a slow machine too. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { hardwareSkip, kvmSkip, rootSkip, uffdSkip } from '../support/host.js';

t.setTimeout(120_000);
/** Trap markers are Linux 6.6. */
const skips = {
  exit: kvmSkip() || hardwareSkip() || uffdSkip(UFFD_FEATURE_POISON),
  handler: kvmSkip() || hardwareSkip() || uffdSkip(),
};
const PAGES = 1024;
const touch = {
  image: 'touch',
  memoryBytes: 8 * 2 ** 20,
  params: { pages: String(PAGES), write: '30' },
  load: 'demand',
} as const;

/** What KVM exits are counted by besides perf: a trace buffer of its own. */
const TRACING = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'].find((path) =>
  existsSync(`${path}/instances`),
);

/** Counts kvm:kvm_exit of all threads, from now until the returned function is called. */
function countExits(): (() => number) | null {
  if (TRACING === undefined) {
    return null;
  }
  const instance = `${TRACING}/instances/faultline-exits-${process.pid}`;
  mkdirSync(instance);
  writeFileSync(`${instance}/events/kvm/kvm_exit/enable`, '1');
  return () => {
    writeFileSync(`${instance}/events/kvm/kvm_exit/enable`, '0');
    const counts = readdirSync(`${instance}/per_cpu`).flatMap((cpu) => {
      const stats = readFileSync(`${instance}/per_cpu/${cpu}/stats`, 'utf8');
      return [...stats.matchAll(/^(?:entries|overrun|dropped events): (\d+)$/gm)];
    });
    rmdirSync(instance);
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  };
}

for (const { delivery, runs, switches, locks } of [
  // A trap marker takes two read locks on 6.12, one on later kernels; what a handler does takes six
  // where there are no locks of single VMAs yet (6.1).
  { delivery: 'exit', runs: 1, switches: 0, locks: [1, 2] },
  { delivery: 'handler', runs: 0, switches: 2, locks: [4, 6] },
] as const) {
  t.test(
    `${delivery}: as on any other host, from the first instruction on`,
    { skip: skips[delivery] },
    async (t) => {
      const traced = rootSkip() === false ? countExits() : null;
      const result = await runGuest({ ...touch, delivery });
      const exits = traced?.() ?? null;
      t.match(result, { outcome: 'completed', error: null });
      t.match(result.pages, { resident: 0, touched: PAGES, verified: PAGES, mismatched: 0 });
      const { count, outcomes } = result.faults;
      t.equal(outcomes.installed, count, 'every unit is brought in once');
      t.ok(count > PAGES && count < PAGES + 40, `${count} faults: the image has a few`);
      const { kvmRuns, kvmExits, contextSwitches, mmapLockAcquisitions } = result.perFault;
      const near = (figure: number | null, wanted: number, room: number, what: string): void => {
        t.ok(Math.abs(figure! - wanted) <= room, `${figure} ${what} a fault, about ${wanted}`);
      };
      near(kvmRuns, runs, 0.05, 'KVM_RUN returns');
      // Whoever sleeps for a fault does so each time; a machine this slow preempts now and then besides.
      t.ok(
        contextSwitches! >= switches - 0.05 && contextSwitches! < switches + 0.9,
        `${contextSwitches} context switches a fault: ${switches}, and less than one more`,
      );
      t.ok(
        locks.some((wanted) => Math.abs(mmapLockAcquisitions! - wanted) <= 0.05),
        `${mmapLockAcquisitions} acquisitions of mmap_lock a fault, one of ${locks}`,
      );
      t.equal(result.perVcpu[0]!.ramAccesses, 0, 'KVM emulated no access');
      t.ok(kvmExits! >= 1, `${kvmExits} KVM exits a fault`);
      if (exits === null) {
        t.comment('no trace buffer to compare KVM exits with');
      } else {
        // Those before the guest's first KVM_RUN and after its last are in none of them.
        near(kvmExits! * count, exits, exits * 0.01, 'KVM exits in all, not');
      }
    },
  );
}
