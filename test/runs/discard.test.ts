import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { BACKING_KINDS, BACKINGS } from '../../src/memory/backing.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { kvmSkip } from '../support/host.js';
import { hugetlbSkip, leavesHostAlone, withHugetlbPages } from '../support/host-knobs.js';

t.setTimeout(600_000);
const skip = kvmSkip();
const BLOCKS = 10;
const noHugetlb = await hugetlbSkip(HUGE_PAGE_BYTES, BLOCKS);
const MEMORY_BYTES = BLOCKS * HUGE_PAGE_BYTES;
/** All but the first 2 MiB. */
const PAGES = (BLOCKS - 1) * 512;

/** Pages that come in 512 at a time are visited more often, or the guest ends before a discard. */
const PASSES = { small: 3, hugetlb: 60 } as const;

/** hugetlb-1G is left out: a single page would take longer to bring in than the guest runs. */
const KINDS = BACKING_KINDS.filter((kind) => BACKINGS[kind].pageBytes <= HUGE_PAGE_BYTES);

for (const kind of KINDS) {
  const { hugetlb, collapsible } = BACKINGS[kind];
  t.test(
    `${kind}: discards while vCPUs fault, with prefetch${collapsible ? ' and collapse' : ''}`,
    { skip: skip || (hugetlb && noHugetlb) },
    leavesHostAlone(async (t) => {
      const runs = async (): Promise<void> => {
        for (const delivery of ['exit', 'handler'] as const) {
          for (const vcpus of [1, 4]) {
            const result = await runGuest({
              image: 'touch',
              backing: kind,
              delivery,
              vcpus,
              handlers: 2,
              memoryBytes: MEMORY_BYTES,
              // Fast enough that a page is seldom seen twice without having been away.
              discard: { bytesPerSecond: 256 * 2 ** 20 },
              prefetch: { bytesPerSecond: 16 * 2 ** 20 },
              collapse: collapsible ? 'complete' : 'never',
              params: {
                pages: String(PAGES),
                passes: String(hugetlb ? PASSES.hugetlb : PASSES.small),
                share: 'overlap',
                order: vcpus === 1 ? 'sequential' : 'random',
              },
              countKernelEvents: false,
              timeoutSeconds: 60,
            });
            const name = `${delivery}, ${vcpus} vCPUs`;
            // The guest compares every word at every visit: a page of zeroes would be a mismatch.
            t.equal(result.outcome, 'completed', `${name}: ${result.error?.message}`);
            t.equal(result.pages.mismatched, 0);
            t.equal(result.pages.verified! + result.pages.discarded!, PAGES, name);
            const discarded = result.background.find(({ chore }) => chore === 'discard')!;
            t.ok(discarded.count > 0, `${name}: ${discarded.count} units discarded`);
          }
        }
      };
      await (hugetlb ? withHugetlbPages(HUGE_PAGE_BYTES, BLOCKS, runs) : runs());
    }),
  );
}

t.test('what the guest has written cannot be discarded', { skip }, async (t) => {
  const discard = { bytesPerSecond: null };
  const memoryBytes = MEMORY_BYTES;
  await t.rejects(runGuest({ image: 'touch', memoryBytes, discard, params: { write: '1' } }), {
    code: 'usage',
    message: /what the guest writes/,
  });
  await t.rejects(runGuest({ image: 'hello', memoryBytes, discard }), { code: 'usage' });
  await t.rejects(runGuest({ image: 'touch', memoryBytes, discard, delivery: 'kernel' }), {
    code: 'usage',
    message: /nothing is trapped/,
  });
});
