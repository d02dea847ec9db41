/** Pages that the kernel moves to other frames (compaction) after they were brought in, or meanwhile. */
import t, { type Test } from 'tap';
import { MEMORY_ERROR, POPULATED, PRESENT } from '../../src/fault/outcome.js';
import { type RunOptions, STRATEGIES } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { MAPPED, MISSING, POISONED } from '../../src/memory/page-states.js';
import { PAGE_IS_SWAPPED } from '../../src/uapi/pagemap.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import {
  compact,
  compactionSkip,
  makeHoles,
  pageFrames,
  underCompaction,
} from '../support/compaction.js';
import { findGuestMemory } from '../support/found-memory.js';
import { GuestPages } from '../support/guest-pages.js';
import { kvmSkip } from '../support/host.js';
import { PageScan, scanSkip } from '../support/page-scan.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

t.setTimeout(900_000);
const skip = compactionSkip() || scanSkip(UFFD_FEATURE_POISON);
const options = { skip, timeout: 90_000 };
const withVcpu = { ...options, skip: kvmSkip() || skip };
const KINDS = ['anon-private', 'shmem'] as const;
/** Compaction decides by itself what it moves, and when: how long it is given to move something of ours. */
const PATIENCE_MILLISECONDS = 30_000;
/** A skip, and not a success, where nothing was moved: see {@link NOT_MOVED}. */
const unless = (moved: number): { skip?: string } => (moved === 0 ? { skip: NOT_MOVED } : {});
/** Which pages compaction takes is the kernel's to decide: on a host with little to move, none of ours. */
const NOT_MOVED = `compaction moved no page of this test's within ${PATIENCE_MILLISECONDS / 1000} s`;

const TOUCHED = Array.from({ length: 100 }, (_, index) => FIRST_PAGE + index);

for (const backing of KINDS) {
  for (const strategy of STRATEGIES) {
    t.test(
      `${backing}, ${strategy}: KVM follows pages that move, and nothing exits`,
      withVcpu,
      async (t) => {
        const code = new GuestCode();
        for (const page of TOUCHED) {
          code.read(page * PAGE);
        }
        code.step();
        for (const page of TOUCHED) {
          code.read(page * PAGE + 4);
        }
        code.exit();
        let moved = 0;
        using _holes = makeHoles();
        const guest = new SteppedGuest(t, code, { backing, delivery: 'exit', strategy });
        const { end, seen } = guest.run([
          () => {
            const frames = (): number[] => pageFrames(guest.address(FIRST_PAGE), TOUCHED.length);
            const before = frames();
            const until = performance.now() + PATIENCE_MILLISECONDS;
            while (moved === 0 && performance.now() < until) {
              compact();
              moved = frames().filter((frame, index) => frame !== before[index]).length;
            }
          },
        ]);
        t.strictSame(end, { reason: 'exited', code: 0 });
        t.strictSame(
          seen,
          [0, 1].flatMap((word) => TOUCHED.map((page) => guest.word(page, word))),
        );
        const { faults, installed } = guest.counts;
        t.match({ faults, installed }, { faults: TOUCHED.length, installed: TOUCHED.length });
        t.ok(
          moved > 0,
          `${moved} of the pages that it had touched were in another frame`,
          unless(moved),
        );
        t.comment(`/proc/self/pagemap: ${moved} pages have another frame`);
      },
    );
  }
}

for (const backing of KINDS) {
  for (const delivery of ['exit', 'handler'] as const) {
    for (const strategy of STRATEGIES) {
      t.test(
        `${backing}, ${delivery}, ${strategy}: memory is compacted while vCPUs fault`,
        withVcpu,
        async (t) => {
          let moved = 0;
          let runs = 0;
          const until = performance.now() + PATIENCE_MILLISECONDS;
          await underCompaction(async () => {
            for (; moved === 0 && performance.now() < until; runs++) {
              using _holes = makeHoles();
              moved += await compactedRun(t, { backing, delivery, strategy });
            }
          });
          t.ok(
            moved > 0,
            `${moved} pages were seen in another frame, in ${runs} runs`,
            unless(moved),
          );
        },
      );
    }
  }
}

/** Runs a guest, and returns how many of its pages changed their frames meanwhile. */
async function compactedRun(
  t: Test,
  options: Pick<RunOptions, 'backing' | 'delivery' | 'strategy'>,
): Promise<number> {
  let before: number[] = [];
  let moved = 0;
  const run = runGuest({
    image: 'touch',
    memoryBytes: 16 * 2 ** 20,
    vcpus: 2,
    params: { passes: '50', order: 'random', write: '50' },
    countKernelEvents: false,
    timeoutSeconds: 60,
    onProgress: () => {
      const frames = pageFrames(guestAddress, bytes / PAGE);
      const other = (frame: number, page: number): boolean =>
        frame !== 0 && (before[page] ?? 0) !== 0 && frame !== before[page];
      moved += frames.filter(other).length;
      before = frames;
    },
    ...options,
  });
  run.catch(() => undefined);
  const { guestAddress, bytes } = findGuestMemory();
  const result = await run;
  t.match(result, { outcome: 'completed', error: null });
  t.match(result.pages, { touched: 3584, verified: 3584, mismatched: 0 });
  t.comment(`outcomes ${JSON.stringify(result.faults.outcomes)}`);
  return moved;
}

const UNITS = 2048;
/** What compaction moves of memory it has moved by then. */
const LOOK_MILLISECONDS = 4000;

/**
 * Looks for migration entries in mapped memory, and calls back at once for each page that has one,
 * until enough have been met. Returns how many.
 */
async function eachMoving(
  kind: (typeof KINDS)[number],
  enough: number,
  visit: (trap: TrappedMemory, unit: number, met: number) => void,
): Promise<number> {
  let met = 0;
  await underCompaction(() => {
    const patience = performance.now() + PATIENCE_MILLISECONDS;
    while (met < enough && performance.now() < patience) {
      using _holes = makeHoles();
      using trap = new TrappedMemory('exit', UNITS, PAGE, BACKINGS[kind]);
      const { resolve } = trap.resolver();
      for (let unit = 0; unit < UNITS; unit++) {
        resolve(unit);
      }
      using scan = new PageScan(trap.guestAddress(0), UNITS);
      const until = performance.now() + LOOK_MILLISECONDS;
      while (met < enough && performance.now() < until) {
        const { page } = scan.first(PAGE_IS_SWAPPED);
        if (page >= 0) {
          visit(trap, page, met++);
        }
      }
    }
  });
  return met;
}

for (const kind of KINDS) {
  for (const strategy of STRATEGIES) {
    t.test(`${kind}, ${strategy}: a page that exits while it moves`, options, async (t) => {
      t.comment('the kernel waits for the end of a migration: the resolver is asked directly');
      const met = await eachMoving(kind, 2, (trap, unit, met) => {
        const { resolve, failure } = trap.resolver({ strategy });
        const { states, layout } = trap.memory;
        if (met % 2 === 0) {
          states.words[unit] = MISSING; // as if somebody else had brought it in
          t.equal(resolve(unit), PRESENT, 'EEXIST');
        } else {
          t.equal(resolve(unit), PRESENT, 'the first exit makes no call');
          t.equal(resolve(unit), strategy === 'no-slow-gup' ? POPULATED : MEMORY_ERROR);
          t.equal(failure.cause, strategy === 'no-slow-gup' ? 'source' : 'repeated');
        }
        const failed = met % 2 === 1 && strategy === 'no-uffd-wait';
        t.equal(states.stateOf(unit), failed ? POISONED : MAPPED);
        t.equal(new GuestPages(layout).page(unit), 'source');
      });
      t.ok(met > 0, `met ${met} pages under migration`, unless(met));
      t.comment(`PAGEMAP_SCAN said ${met} times that a mapped page was SWAPPED: a migration entry`);
    });
  }
}
