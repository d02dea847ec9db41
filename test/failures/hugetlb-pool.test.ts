/** The hugetlb pool runs dry while the guest runs, because somebody else takes what was left. */
import t, { type Test } from 'tap';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { readHugetlbPool } from '../../src/memory/hugetlb-pool.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { Gate } from '../../src/source/faulty-source.js';
import { failingRun, failureTest } from '../support/failure-test.js';
import { kvmSkip, rootSkip } from '../support/host.js';
import { withHugetlbPages } from '../support/hugetlb.js';

t.setTimeout(200_000);
const skip = kvmSkip() || rootSkip();
const PAGES = 8;
const HELD_PAGE = 4;
const prepare = (t: Test): boolean => withHugetlbPages(t, HUGE_PAGE_BYTES, PAGES);

for (const backing of ['hugetlb-2M', 'hugetlb-private-2M'] as const) {
  for (const delivery of ['exit', 'handler'] as const) {
    failureTest(
      `${backing}, ${delivery}: others wait for the page`,
      { skip, prepare },
      async (t) => {
        const pool = (): number => readHugetlbPool(HUGE_PAGE_BYTES)!.free;
        const before = pool();
        const gate = new Gate();
        let thief: GuestMemory | null = null;
        const result = await failingRun(t, {
          backing,
          delivery,
          reserve: false,
          memoryBytes: PAGES * HUGE_PAGE_BYTES,
          vcpus: 3,
          params: { share: 'overlap' },
          failSource: [{ kind: 'hold', address: HELD_PAGE * HUGE_PAGE_BYTES, gate: gate.buffer }],
          onProgress: () => {
            if (gate.heldThread !== null && thief === null) {
              const { free, reserved } = readHugetlbPool(HUGE_PAGE_BYTES)!;
              const bytes = (free - reserved) * HUGE_PAGE_BYTES;
              thief = GuestMemory.create(BACKINGS['hugetlb-2M'], bytes, HUGE_PAGE_BYTES);
              t.comment(`a page is held in the middle of its fill, and the last ${free} are taken`);
              gate.open();
            }
          },
        });
        (thief as GuestMemory | null)?.close();
        t.match(result, {
          outcome: 'memory-error',
          error: {
            message:
              /no contents for GPA 0x(8|a)00000 .*: (no memory could be had|it could not be mapped)/,
            hint: /pages are free, .* Without --no-reserve the run would not have begun/,
          },
        });
        t.equal(pool(), before, 'and every page is back in the pool');
      },
    );
  }
}
