import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { kvmSkip } from '../support/host.js';
import { mappingsOf, openDescriptors, threadCount } from '../support/leaks.js';

t.setTimeout(900_000);

const TIMES = 20;
const PAGES = 2048;
/** Worker threads of libuv and V8 come and go; those of runs are many more. */
const SPARE_THREADS = 8;

const held = () => ({
  descriptors: openDescriptors().filter((name) =>
    /kvm|userfaultfd|memfd|eventfd|perf_event/.test(name),
  ).length,
  mappings: mappingsOf('faultline').length + mappingsOf('kvm-vcpu').length,
});

for (const vcpus of [1, 2, 4, 8, 16, 32, 64]) {
  t.test(
    `${vcpus} vCPUs complete and verify ${TIMES} times in a row, and leave nothing`,
    { skip: kvmSkip(), timeout: 400_000 },
    async (t) => {
      const run = (round: number) =>
        runGuest({
          image: 'touch',
          delivery: 'exit',
          vcpus,
          memoryBytes: 10 * 2 ** 20,
          params: {
            pages: String(PAGES),
            share: round % 2 === 0 ? 'partition' : 'overlap',
            order: (['sequential', 'random', 'strided'] as const)[round % 3]!,
            write: '50',
            seed: String(round),
          },
        });
      await run(0); // what the process opens once, it opens here
      const before = held();
      const threads = threadCount();
      for (let round = 0; round < TIMES; round++) {
        const { outcome, error, pages, faults } = await run(round);
        if (
          outcome !== 'completed' ||
          pages.verified !== PAGES ||
          faults.outcomes.installed !== PAGES
        ) {
          t.fail(`round ${round}`, { outcome, error, pages, faults });
        }
      }
      t.strictSame(held(), before, 'no descriptor or mapping is left');
      t.ok(threadCount() <= threads + SPARE_THREADS, `${threadCount()} threads, ${threads} before`);
    },
  );
}
