import { DefectError } from '../../src/ffi/errors.js';
import { DELIVERIES } from '../../src/machine/delivery.js';
import type { ThreadLocks } from '../../src/machine/run-result.js';
import { disturbanceOf } from '../../src/measure/other-load.js';
import type { Figure } from '../../src/report/bench-result.js';
import type { ContentionRow, LockShare, ThreadShare } from '../../src/report/contention-result.js';
import { figureOf } from '../../src/report/figures.js';
import type { ContentionRun } from './contention.js';
import type { ContentionPlan, Part, Variant } from './contention-plan.js';

type Kind = ThreadLocks['threads'];
const SERVING: readonly Kind[] = ['vcpus', 'handlers'];

/** Times are those of timed runs, counts of counted ones, waits and holds of traced ones. */
export function summarizeVariant(
  plan: ContentionPlan,
  { label, delivery, writers }: Variant,
  runs: readonly ContentionRun[],
): ContentionRow {
  const mine = runs.filter((run) => run.label === label);
  const of = (part: Part, pick: (run: ContentionRun) => number | null | undefined): Figure | null =>
    figureOf(mine.filter((run) => run.part === part).map(pick));
  const share = (kinds: readonly Kind[], mode: 'read' | 'write'): LockShare => ({
    acquisitions: known(
      of('counted', (run) => perFault(run, kinds, (locks) => locks[mode].acquisitions)),
    ),
    waitMicroseconds: of('traced', (run) =>
      perFault(run, kinds, (locks) => locks[mode].waitMicroseconds),
    ),
    holdMicroseconds: of('traced', (run) =>
      perFault(run, kinds, (locks) => locks[mode].holdMicroseconds),
    ),
    longWaits: of('traced', (run) => perFault(run, kinds, (locks) => locks[mode].longWaits)),
  });
  const { handled } = DELIVERIES[delivery];
  const kinds: Kind[] = [
    'vcpus',
    ...(handled ? (['handlers'] as const) : []),
    ...(writers > 0 ? (['writers'] as const) : []),
  ];
  return {
    label,
    delivery,
    backing: plan.backing,
    vcpus: plan.vcpus,
    handlers: handled ? plan.handlers : 0,
    writers,
    writesPerSecond: writers === 0 ? null : of('timed', writesPerSecond),
    faults: known(of('timed', (run) => run.faults.count)),
    pagesVerified: Math.min(...mine.map((run) => run.pages.verified ?? 0)),
    read: share(SERVING, 'read'),
    write: share(SERVING, 'write'),
    byThread: kinds.map(
      (threads): ThreadShare => ({
        threads,
        read: share([threads], 'read'),
        write: share([threads], 'write'),
      }),
    ),
    contextSwitches: of('counted', (run) => run.perFault.contextSwitches),
    kvmRuns: of('counted', (run) => run.perFault.kvmRuns),
    kvmExits: of('counted', (run) => run.perFault.kvmExits),
    pageFaultRetries: of('counted', ({ pageFaultRetries, faults }) =>
      pageFaultRetries === null ? null : pageFaultRetries / faults.count,
    ),
    pagesPerSecond: known(of('timed', (run) => run.pagesPerSecond)),
    p50Microseconds: of('timed', (run) => run.latencyMicroseconds?.p50),
    p99Microseconds: of('timed', (run) => run.latencyMicroseconds?.p99),
    ...disturbanceOf(mine.filter(({ part }) => part === 'timed')),
  };
}

function perFault(
  { locks, faults }: ContentionRun,
  kinds: readonly Kind[],
  pick: (locks: ThreadLocks) => number | null,
): number | null {
  let sum = 0;
  for (const some of locks ?? []) {
    if (kinds.includes(some.threads)) {
      const value = pick(some);
      if (value === null) {
        return null;
      }
      sum += value;
    }
  }
  return sum / faults.count;
}

function writesPerSecond({ background, guestSeconds }: ContentionRun): number | null {
  const writes = background
    .filter(({ chore }) => chore === 'writer')
    .reduce((sum, { count }) => sum + count, 0);
  return guestSeconds === null ? null : writes / guestSeconds;
}

/** A figure that every run that was checked has. */
function known(figure: Figure | null): Figure {
  if (figure === null) {
    throw new DefectError('a run of the bench lacks a figure that was checked before');
  }
  return figure;
}
