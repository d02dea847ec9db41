import t from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { describeHost } from '../../src/measure/host.js';
import { kvmSkip } from '../support/host.js';
import { withHugetlbPages } from '../support/hugetlb.js';

const skip = kvmSkip();
t.setTimeout(300_000);
const MIB = 2 ** 20;
const PAGES = 1024;
const isHardware = describeHost().paging === 'hardware';
const base = {
  image: 'touch',
  memoryBytes: 8 * MIB,
  load: 'demand',
  params: { pages: String(PAGES), write: '30', order: 'random' },
} as const;
/** Under shadow paging KVM can only wait for a page of the image in handler delivery. */
const deliveries = isHardware ? (['handler', 'exit'] as const) : (['handler'] as const);

const variants: readonly { name: string; options: Partial<RunOptions>; hugePages?: number }[] = [
  { name: 'pages of 4K', options: {} },
  { name: 'two vCPUs', options: { vcpus: 2 } },
  { name: 'units of 64K, in which image and workload meet', options: { unitBytes: 65536 } },
  { name: 'units of 2M', options: { unitBytes: 2 * MIB } },
  { name: 'private memory, filled by UFFDIO_COPY', options: { backing: 'anon-private' } },
  { name: 'tmpfs with huge pages', options: { backing: 'tmpfs-huge' } },
  { name: 'hugetlb', options: { backing: 'hugetlb-2M' }, hugePages: 4 },
  { name: 'neighbours', options: { around: 7 } },
  { name: 'prefetch', options: { prefetch: { bytesPerSecond: null } } },
  { name: 'a collapse', options: { collapse: 'complete' } },
  {
    name: 'a source that fails now and then',
    options: { failSource: [{ kind: 'every', requests: 50, times: null }] },
  },
  { name: 'a network', options: { network: { bitsPerSecond: 1e9, latencyMicroseconds: 20 } } },
];
for (const delivery of deliveries) {
  for (const { name, options, hugePages = 0 } of variants) {
    t.test(`${delivery}: nothing is there before the guest runs: ${name}`, { skip }, async (t) => {
      if (hugePages > 0 && !withHugetlbPages(t, 2 * MIB, hugePages)) {
        return;
      }
      const result = await runGuest({ ...base, delivery, ...options });
      t.equal(result.error, null);
      t.equal(result.outcome, 'completed');
      t.equal(result.pages.resident, 0);
      t.match(result.pages, { touched: PAGES, verified: PAGES, mismatched: 0 });
      const { installed, present } = result.faults.outcomes;
      const unitBytes = options.unitBytes ?? 4096;
      if (
        options.around === undefined &&
        options.prefetch === undefined &&
        unitBytes === 4096 &&
        options.backing !== 'hugetlb-2M'
      ) {
        t.ok(installed + present > PAGES + 5, `${installed} units, of which the image has a few`);
      }
    });
  }

  t.test(
    `${delivery}: what the guest writes nowhere else may be discarded, the image is not`,
    { skip },
    async (t) => {
      // A fast guest needs more passes for a discard to meet a page of it; an emulated one takes no more.
      for (let passes = 6, thrownAway = 0; thrownAway === 0; passes *= 3) {
        const result = await runGuest({
          ...base,
          delivery,
          params: { pages: String(PAGES), passes: String(passes) },
          discard: { bytesPerSecond: 2 * MIB },
        });
        t.equal(result.error, null);
        t.equal(result.pages.mismatched, 0);
        thrownAway = result.background[0]!.count;
        if (result.error !== null) {
          return;
        }
      }
    },
  );

  t.test(
    `${delivery}: a page of the image that is to fail is refused as ever`,
    { skip },
    async (t) => {
      await t.rejects(runGuest({ ...base, delivery, poison: [0x9000] }), {
        message: /^--poison 0x9000 is in a fault unit of the image/,
      });
    },
  );

  t.test(
    `${delivery}: a page of the image that cannot be had is a memory error`,
    { skip },
    async (t) => {
      const result = await runGuest({
        ...base,
        delivery,
        sourceRetries: 0,
        failSource: [{ kind: 'page', address: 0x10000, times: null }],
        timeoutSeconds: 20,
      });
      t.ok(['memory-error', 'shutdown'].includes(result.outcome), `${result.error?.message}`);
      t.ok((result.source?.failures ?? 0) > 0, 'it was asked for');
    },
  );
}

t.test(
  'the image of the guest whose faults are measured is resident unless told otherwise',
  { skip },
  async (t) => {
    const { load: _load, ...options } = base;
    const { pages, faults } = await runGuest({ ...options, delivery: 'exit' });
    t.ok(pages.resident! > 5, `${pages.resident} pages`);
    t.equal(faults.outcomes.installed, PAGES, 'its faults are those of the workload');
  },
);

t.test(
  'where KVM cannot wait for a page of the image, that is said',
  { skip: skip || (isHardware && 'hardware paging') || false },
  async (t) => {
    await t.rejects(runGuest({ ...base, delivery: 'exit' }), {
      code: 'unsupported',
      message: /^--load demand needs hardware paging/,
      hint: /--delivery handler/,
    });
  },
);

t.test('where every page is there beforehand, that is said', { skip }, async (t) => {
  await t.rejects(runGuest({ ...base, delivery: 'kernel' }), {
    code: 'usage',
    message: /^--load demand/,
  });
});
