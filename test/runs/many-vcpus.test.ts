import t from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { kvmSkip } from '../support/host.js';
import { threadCount } from '../support/leaks.js';
import { held, prefetch, runAndCheck, SPARE_THREADS } from '../support/touch-runs.js';

t.setTimeout(1_800_000);

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
