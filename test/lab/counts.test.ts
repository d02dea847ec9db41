/**
 * What a fault goes through in the kernel, by each way of telling userspace of it: exact counts, and
 * what a thread that keeps mmap_lock for write does to them.
 */
import t from 'tap';
import { exits } from '../../bench/scale/exits.js';
import { memslotExitSkip } from '../support/memslot-exits.js';

const skip = memslotExitSkip('missing') || memslotExitSkip('userfault');
/** Of a thread's start and end, spread over the faults. */
const NOISE = 0.05;
const PAGES = 1024;

/** Per fault, as counted by the same loops in C on Linux 6.12. */
const COUNTS = {
  kernel: { mmapLockAcquisitions: 1, slowGup: 1, userfaults: 0, kvmRuns: 0 },
  handler: { mmapLockAcquisitions: 4, slowGup: 2, userfaults: 2, kvmRuns: 0 },
  'exit: trap-marker': { mmapLockAcquisitions: 2, slowGup: 1, userfaults: 0, kvmRuns: 1 },
  'exit: missing': { mmapLockAcquisitions: 0, slowGup: 0, userfaults: 0, kvmRuns: 1 },
  'exit: userfault': { mmapLockAcquisitions: 1, slowGup: 1, userfaults: 1, kvmRuns: 1 },
} as const;

/** How much sooner a fault is over than with a handler, beside a thread that keeps mmap_lock. */
const LEAST_GAIN = 5;

t.test(
  'every way of telling userspace of a missing page',
  { skip, timeout: 600_000 },
  async (t) => {
    const result = await exits.run({ pages: PAGES, repeat: 1 });
    t.comment(exits.describe(result));
    const rows = new Map(result.summary.rows.map((row) => [row.label, row]));
    t.strictSame([...rows.keys()].sort(), Object.keys(COUNTS).sort());
    for (const [label, counts] of Object.entries(COUNTS)) {
      for (const [name, wanted] of Object.entries(counts)) {
        const found = rows.get(label)?.[name as keyof typeof counts] ?? Number.NaN;
        t.ok(
          Math.abs(found - wanted) < NOISE + wanted * NOISE,
          `${label}: ${name} ${found}, not ${wanted}`,
        );
      }
    }
    const pressed = (label: string): number =>
      rows.get(label)?.pressedMeanMicroseconds?.median ?? Number.NaN;
    const gain = pressed('handler') / pressed('exit: missing');
    t.ok(
      gain >= LEAST_GAIN,
      `beside mprotect of 64 MiB, ${gain.toFixed(1)} times as fast as a handler`,
    );
  },
);
