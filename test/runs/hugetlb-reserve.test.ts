import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { readHugetlbPool } from '../../src/memory/hugetlb-pool.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';
import { hugetlbSkip, leavesHostAlone, poolKnob, withKnob } from '../support/host-knobs.js';

t.setTimeout(300_000);
const WANTED = 16;
const options = {
  image: 'touch',
  memoryBytes: WANTED * HUGE_PAGE_BYTES,
  countKernelEvents: false,
} as const;
const skip = kvmSkip() || (await hugetlbSkip(HUGE_PAGE_BYTES, WANTED));
const free = (): number => readHugetlbPool(HUGE_PAGE_BYTES)!.free;

t.test(
  'too few pages: the error says how many, and its command provides them',
  { skip },
  leavesHostAlone(async (t) => {
    const knob = poolKnob(HUGE_PAGE_BYTES);
    await withKnob(knob, 5, async () => {
      const error = await runGuest({ ...options, backing: 'hugetlb-2M' }).then(
        () => null,
        (thrown: Error & { code: string; hint: string }) => thrown,
      );
      t.match(error, { code: 'unsupported', message: /16 .* are wanted and 11 are missing/ });
      const [, value, path] = /^Run: echo (\d+) > (\S+)$/.exec(error!.hint) ?? [];
      t.equal(path, knob);
      await withKnob(path!, value!, async () => {
        const { outcome, hugetlb } = await runGuest({ ...options, backing: 'hugetlb-2M' });
        t.equal(outcome, 'completed');
        t.match(hugetlb, {
          wanted: WANTED,
          before: { total: WANTED, free: WANTED, reserved: 0, surplus: 0 },
          created: { free: WANTED, reserved: WANTED },
          end: { free: 0, reserved: 0 },
        });
      });
    });
  }),
);

for (const backing of ['hugetlb-2M', 'hugetlb-private-2M'] as const) {
  for (const delivery of ['kernel', 'handler', 'exit'] as const) {
    t.test(
      `${backing}, ${delivery}: without a reservation a pool that runs dry is a memory error`,
      { skip },
      leavesHostAlone(async (t) => {
        await withKnob(poolKnob(HUGE_PAGE_BYTES), 7, async () => {
          const result = await runGuest({ ...options, backing, delivery, reserve: false });
          t.equal(result.outcome, 'memory-error', JSON.stringify(result.error));
          t.match(result.error!.message, /GPA 0x[0-9a-f]+/);
          t.match(result.error!.hint, /0 of 7 pages are free/);
          t.equal(result.hugetlb!.end.free, 0, 'it took what there was');
          t.equal(free(), 7, 'and gave it back');
        });
      }),
    );
  }
}

t.test(
  'the command line ends with status 1, and not by a signal',
  { skip },
  leavesHostAlone(async (t) => {
    await withKnob(poolKnob(HUGE_PAGE_BYTES), 7, async () => {
      const args = ['--backing', 'hugetlb-2M', '--memory', '32M', '--no-reserve', '--json'];
      const { status, signal, stdout } = await cli(['run', 'touch', ...args]);
      t.equal(signal, null);
      t.equal(status, 1);
      t.match(JSON.parse(stdout), { outcome: 'memory-error', config: { reserve: false } });
    });
  }),
);

t.test('only hugetlb is reserved', async (t) => {
  await t.rejects(runGuest({ ...options, backing: 'shmem', reserve: false }), {
    code: 'usage',
    message: /only hugetlb memory is reserved/,
  });
});
