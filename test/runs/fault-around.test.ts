import t from 'tap';
import type { AroundPolicy } from '../../src/fault/around.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(300_000);
const skip = kvmSkip();
const PAGES = 8192;
const FEWEST_PAIRS = 3;
const MOST_PAIRS = 15;

async function touch(around: AroundPolicy, order: 'sequential' | 'random'): Promise<RunResult> {
  const result = await runGuest({
    image: 'touch',
    backing: 'shmem',
    delivery: 'exit',
    memoryBytes: 34 * 2 ** 20,
    around,
    params: { pages: String(PAGES), order },
    pin: { vcpu: [0] },
    countKernelEvents: false,
  });
  if (result.outcome !== 'completed' || result.pages.verified !== PAGES) {
    throw new Error(`the run ended as ${result.outcome}: ${result.error?.message}`);
  }
  return result;
}

/**
 * How many times the pages per second of `b` `a` has, each at its best: on a busy host a run is
 * slower than it could be, by any factor, and never faster. Pairs are run in turn, a few at least, and
 * as many as allowed while the ratio is below what is expected.
 */
async function compare(
  expected: number,
  a: () => Promise<RunResult>,
  b: () => Promise<RunResult>,
): Promise<{ readonly ratio: number; readonly pairs: number }> {
  let best = { a: 0, b: 0 };
  let pairs = 0;
  do {
    const first = (await a()).pagesPerSecond!;
    const second = (await b()).pagesPerSecond!;
    best = { a: Math.max(best.a, first), b: Math.max(best.b, second) };
    pairs++;
  } while (pairs < FEWEST_PAIRS || (best.a / best.b < expected && pairs < MOST_PAIRS));
  return { ratio: best.a / best.b, pairs };
}

t.test(
  '16 neighbours come in with each sequential fault, in one call each',
  { skip },
  async (t) => {
    const { faults, perVcpu, perFault } = await touch(16, 'sequential');
    t.equal(faults.count, Math.ceil(PAGES / 17));
    t.equal(faults.count + faults.neighbours, PAGES);
    t.equal(faults.outcomes.installed, faults.count);
    // KVM_RUN, sigtimedwait, MADV_POPULATE_WRITE of the alias mapping, UFFDIO_CONTINUE.
    t.ok(perFault.syscalls! < 4.1, `${perFault.syscalls} system calls per fault`);
    t.equal(perVcpu[0]!.heap.collections, 0);
  },
);

t.test(
  'sequential with 16 neighbours: at least 4 times the pages per second',
  { skip },
  async (t) => {
    const { ratio, pairs } = await compare(
      4,
      () => touch(16, 'sequential'),
      () => touch(0, 'sequential'),
    );
    t.comment(`${ratio.toFixed(2)} times the pages per second, best of ${pairs}`);
    t.ok(ratio >= 4, `${ratio}`);
  },
);

t.test('adaptive: many neighbours for sequential access, none for random', { skip }, async (t) => {
  const sequential = await touch('adaptive', 'sequential');
  t.equal(sequential.faults.count + sequential.faults.neighbours, PAGES);
  // 1, 2, 4, … 64 pages at a time.
  t.ok(sequential.faults.count <= 8 + PAGES / 64, `${sequential.faults.count} faults`);
  const random = await touch('adaptive', 'random');
  // By chance a fault follows another; what it brings along is hardly anything.
  t.ok(random.faults.neighbours < PAGES / 50, `${random.faults.neighbours} neighbours`);
});

t.test('adaptive is not more than 10 % slower on random access', { skip }, async (t) => {
  const { ratio, pairs } = await compare(
    0.9,
    () => touch('adaptive', 'random'),
    () => touch(0, 'random'),
  );
  t.comment(`${ratio.toFixed(2)} times the pages per second, best of ${pairs}`);
  t.ok(ratio >= 0.9, `${ratio}`);
});
