/** Whole runs whose pages KVM maps into tables of the CPU's own (NPT, EPT), and takes out of them again. */
import t from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { hardwareSkip, kvmSkip, uffdSkip } from '../support/host.js';

t.setTimeout(300_000);
const noHardware = kvmSkip() || hardwareSkip();
const timeout = 120_000;
/** Trap markers are Linux 6.6. */
const skips = {
  exit: noHardware || uffdSkip(UFFD_FEATURE_POISON),
  handler: noHardware || uffdSkip(),
};
const MIB = 2 ** 20;

function run(more: Omit<RunOptions, 'image'>) {
  return runGuest({
    image: 'touch',
    memoryBytes: 6 * MIB,
    countKernelEvents: false,
    timeoutSeconds: 100,
    ...more,
  });
}

for (const delivery of ['exit', 'handler'] as const) {
  const options = { skip: skips[delivery], timeout };
  t.test(`${delivery}: two vCPUs want the same pages, and write some`, options, async (t) => {
    const PAGES = 500;
    const result = await run({
      delivery,
      vcpus: 2,
      load: 'demand',
      params: {
        pages: String(PAGES),
        share: 'overlap',
        order: 'random',
        write: '40',
        passes: '2',
      },
    });
    t.match(result, { outcome: 'completed', error: null });
    t.match(result.pages, { resident: 0, touched: PAGES, verified: PAGES, mismatched: 0 });
    const { installed } = result.faults.outcomes;
    t.ok(installed >= PAGES && installed < PAGES + 40, `${installed} units brought in`);
  });

  t.test(`${delivery}: pages thrown away under the guest come back right`, options, async (t) => {
    const result = await run({
      delivery,
      discard: { bytesPerSecond: null },
      params: { pages: '1024', passes: '8' },
    });
    t.match(result, { outcome: 'completed', error: null });
    t.equal(result.pages.mismatched, 0);
    t.equal(result.pages.verified! + result.pages.discarded!, 1024);
    const discarded = result.background.find(({ chore }) => chore === 'discard')!;
    t.ok(discarded.count > 0, `${discarded.count} units discarded`);
  });
}

t.test(
  'exit: huge pages of a complete block, under a guest that runs on',
  { skip: skips.exit, timeout },
  async (t) => {
    const result = await run({
      delivery: 'exit',
      backing: 'tmpfs-huge',
      collapse: 'complete',
      params: { passes: '30', write: '10' },
    });
    t.match(result, { outcome: 'completed', error: null });
    t.match(result.pages, { touched: 1024, verified: 1024, mismatched: 0 });
    const { collapsedWhileRunning, mappedBytes } = result.hugePages;
    t.ok(collapsedWhileRunning > 0, `${collapsedWhileRunning} blocks while it ran`);
    t.ok(mappedBytes.end! >= 2 * MIB, `${mappedBytes.end} bytes in huge pages at the end`);
  },
);
