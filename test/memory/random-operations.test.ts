/**
 * Random sequences of everything that may be done to guest memory, on every backing, against a model
 * in plain memory.
 *
 * A failing sequence is shrunk and printed with the line that runs it again:
 *
 *     FAULTLINE_REPLAY='{"backing":"shmem","seed":-123,"path":"4:0:1"}' \
 *       node dist/test/memory/random-operations.test.js
 *
 * (`path` leads to the shrunk sequence; without it the same sequences are tried from the first on.)
 */
import fc from 'fast-check';
import t from 'tap';
import { formatSize, HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { Deadline } from '../support/deadline.js';
import { uffdSkip } from '../support/host.js';
import { type Operation, operations, type Setup, setups } from '../support/memory-operations.js';
import { MemoryUnderTest, type Tally } from '../support/memory-under-test.js';

interface Replay {
  readonly backing: string;
  readonly seed: number;
  readonly path?: string;
}

const STEPS = 3000;
/**
 * Of a file with huge pages: while kcompactd moves the parts of one that was split, it takes entries
 * away that a vCPU's next fault would put back. What is wrong with us is wrong each time.
 */
const MOST_ATTEMPTS = 4;
const SEQUENCES_AT_A_TIME = 10;
/** Shrinking ends then, with what it has found so far. */
const SHRINK_MILLISECONDS = 30_000;
const replay = JSON.parse(process.env.FAULTLINE_REPLAY ?? 'null') as Replay | null;

/** Two blocks and a part of a third; of hugetlb, some pages. */
function bytesFor(pageBytes: number): number {
  return pageBytes === 4096 ? 2 * HUGE_PAGE_BYTES + 2 ** 17 : 4 * pageBytes;
}

t.setTimeout(300_000);
/** A missing page that nobody brings in would make a call sleep for ever. */
const deadline = new Deadline(20_000);
t.teardown(() => deadline.end());
t.test('hugetlb-1G', async (t) => {
  t.plan(0, 'a step would copy and compare gigabytes');
});

eachBacking(
  'is what its model says, after every step',
  { bytes: bytesFor, skip: uffdSkip(UFFD_FEATURE_POISON) },
  async (t, backing, bytes) => {
    const label = t.name.split(':')[0]!;
    if (replay !== null && replay.backing !== label) {
      return;
    }
    const tally: Tally = { steps: 0 };
    const property = fc.property(setups, operations, (setup, sequence) => {
      const { unitBytes } = setup;
      const unit = Math.max(unitBytes, backing.pageBytes);
      const whole = Math.floor(bytes / unit) * unit;
      for (let again = backing.hugeFile ? MOST_ATTEMPTS - 1 : 0; ; again--) {
        using memory = new MemoryUnderTest(backing, whole, { ...setup, unitBytes: unit }, tally);
        deadline.begin(`${label}: ${print(setup, sequence)}`);
        try {
          for (const operation of sequence) {
            deadline.step();
            memory.step(operation);
          }
          memory.checkAll();
          return;
        } catch (error) {
          if (again === 0) {
            throw error;
          }
        }
      }
    });
    do {
      const details = fc.check(
        property,
        replay === null
          ? { numRuns: SEQUENCES_AT_A_TIME, interruptAfterTimeLimit: SHRINK_MILLISECONDS }
          : { numRuns: SEQUENCES_AT_A_TIME, ...replay },
      );
      if (details.failed) {
        t.fail(describe(label, details));
        return;
      }
    } while (tally.steps! < STEPS && replay === null);
    t.comment(`${label}: ${JSON.stringify(tally)}`);
    t.ok(tally.steps! >= STEPS || replay !== null);
    const wanted = ['faults', 'faults with neighbours', 'prefetches', 'discards', 'stores'];
    const blocks = backing.collapsible ? ['collapses collapsed', 'collapses incomplete'] : [];
    for (const what of [...wanted, ...blocks, 'parts zeroed', 'stores that fail', 'reads']) {
      t.ok(tally[what]! > 0 || replay !== null, `${tally[what]} ${what}`);
    }
  },
);

function describe(
  backing: string,
  {
    seed,
    counterexamplePath,
    counterexample,
    errorInstance,
  }: fc.RunDetails<[Setup, readonly Operation[]]>,
): string {
  const again: Replay = { backing, seed, path: counterexamplePath ?? '' };
  const [setup, sequence] = counterexample!;
  return [
    errorInstance instanceof Error ? errorInstance.message : String(errorInstance),
    `run it again: FAULTLINE_REPLAY='${JSON.stringify(again)}' node dist/test/memory/random-operations.test.js`,
    print(setup, sequence),
  ].join('\n');
}

function print({ unitBytes, delivery, around }: Setup, sequence: readonly Operation[]): string {
  return [
    `units of ${formatSize(unitBytes)}, delivery ${delivery}, around ${around}`,
    ...sequence.map((operation) => JSON.stringify(operation)),
  ].join('\n');
}
