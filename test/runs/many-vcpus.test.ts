import t from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { kvmSkip } from '../support/host.js';
import { mappingsOf, openDescriptors, threadCount } from '../support/leaks.js';

t.setTimeout(1_800_000);

const PAGES = 2048;
/** Worker threads of libuv and V8 come and go; those of runs are many more. */
const SPARE_THREADS = 8;

const held = () => ({
  descriptors: openDescriptors().filter((name) =>
    /kvm|userfaultfd|memfd|eventfd|perf_event/.test(name),
  ).length,
  mappings: mappingsOf('faultline').length + mappingsOf('kvm-vcpu').length,
});

const prefetch = { bytesPerSecond: null };

/** How the memory is shared out, trapped, served and brought in besides. */
const WAYS: readonly ((vcpus: number) => Partial<RunOptions>)[] = [
  () => ({ delivery: 'exit', params: { share: 'partition' } }),
  () => ({ delivery: 'exit', params: { share: 'overlap', order: 'random' }, prefetch }),
  () => ({ delivery: 'exit', uffds: 'per-vcpu', params: { share: 'partition' }, prefetch }),
  () => ({ delivery: 'exit', uffds: 'per-vcpu', params: { share: 'overlap' }, around: 3 }),
  () => ({ delivery: 'handler', params: { share: 'overlap', order: 'strided' } }),
  () => ({ delivery: 'handler', handlers: 4, params: { share: 'partition' }, prefetch }),
  () => ({ delivery: 'handler', handlers: 3, uffds: 'per-vcpu', params: { share: 'overlap' } }),
  (vcpus) => ({
    delivery: 'handler',
    handlers: vcpus,
    uffds: 'per-vcpu',
    params: { share: 'partition', order: 'random' },
    prefetch,
  }),
];

async function runAndCheck(vcpus: number, way: Partial<RunOptions>): Promise<string | null> {
  const { params, ...options } = way;
  const { outcome, error, pages, faults, delivery, background, startup } = await runGuest({
    image: 'touch',
    vcpus,
    memoryBytes: 256 * 2 ** 20,
    ...options,
    // Over all of it, so that every userfaultfd has its part.
    params: { pages: String(PAGES), every: '31', write: '50', ...params },
  });
  const shares = options.uffds === 'per-vcpu' ? vcpus : 1;
  const { installed } = faults.outcomes;
  const brought = installed + faults.neighbours + (background[0]?.count ?? 0);
  const isRight =
    outcome === 'completed' &&
    pages.verified === PAGES &&
    brought >= PAGES &&
    (options.around || prefetch === options.prefetch || installed === PAGES) &&
    delivery.userfaultfds === shares &&
    startup!.threads >= vcpus &&
    startup!.bytesPerThread > 0;
  return isRight ? null : JSON.stringify({ way, outcome, error, pages, faults, delivery });
}

for (const vcpus of [1, 2, 4, 8, 16, 32, 64]) {
  t.test(
    `${vcpus} vCPUs complete and verify in every way, and leave nothing`,
    { skip: kvmSkip(), timeout: 400_000 },
    async (t) => {
      await runAndCheck(vcpus, WAYS[0]!(vcpus)); // what the process opens once, it opens here
      const before = held();
      const threads = threadCount();
      // Starting so many threads takes seconds: 32 vCPUs do half of it, 64 the other half.
      const ways = WAYS.filter((_, index) => vcpus < 32 || index % 2 === (vcpus === 32 ? 0 : 1));
      for (const way of ways) {
        t.equal(await runAndCheck(vcpus, way(vcpus)), null, JSON.stringify(way(vcpus)));
      }
      t.strictSame(held(), before, 'no descriptor or mapping is left');
      t.ok(threadCount() <= threads + SPARE_THREADS, `${threadCount()} threads, ${threads} before`);
    },
  );
}

const IN_A_ROW = Number(process.env.FAULTLINE_RUNS_IN_A_ROW ?? 30);

t.test(
  `${IN_A_ROW} runs in a row of 8 overlapping vCPUs with background prefetch verify, and leave nothing`,
  { skip: kvmSkip(), timeout: 1_200_000 },
  async (t) => {
    const run = (round: number): Promise<string | null> =>
      runAndCheck(8, {
        delivery: round % 2 === 0 ? 'exit' : 'handler',
        handlers: 2,
        params: { share: 'overlap', order: 'random', seed: String(round) },
        prefetch,
      });
    await run(0);
    const before = held();
    const threads = threadCount();
    const wrong: string[] = [];
    for (let round = 0; round < IN_A_ROW; round++) {
      const complaint = await run(round);
      if (complaint !== null) {
        wrong.push(`round ${round}: ${complaint}`);
      }
    }
    t.strictSame(wrong, []);
    t.strictSame(held(), before, 'no descriptor or mapping is left');
    t.ok(threadCount() <= threads + SPARE_THREADS, `${threadCount()} threads, ${threads} before`);
  },
);
