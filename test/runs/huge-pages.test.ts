import t, { type Test } from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { BACKING_KINDS, BACKINGS, type BackingName } from '../../src/memory/backing.js';
import { findBacking } from '../../src/memory/open-backing.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { kvmSkip, rootSkip } from '../support/host.js';
import { leavesHostAlone } from '../support/host-knobs.js';

t.setTimeout(600_000);
const BLOCKS = 12;
const MEMORY_BYTES = BLOCKS * HUGE_PAGE_BYTES;
const PAGES = (MEMORY_BYTES - HUGE_PAGE_BYTES) / 4096;
/** The first block holds the image, and much that is never touched. */
const TOUCHED_BYTES = MEMORY_BYTES - HUGE_PAGE_BYTES;

const SHM = `/dev/shm/faultline-test-${process.pid}`;
const collapsible: BackingName[] = BACKING_KINDS.filter((kind) => BACKINGS[kind].collapsible);
if (findBacking(`file:${SHM}`).collapsible) {
  collapsible.push(`file:${SHM}`);
}

function run(options: Omit<RunOptions, 'image'>): Promise<RunResult> {
  return runGuest({
    image: 'touch',
    memoryBytes: MEMORY_BYTES,
    vcpus: 2,
    handlers: 2,
    countKernelEvents: false,
    timeoutSeconds: 60,
    ...options,
    params: { order: 'sequential', ...options.params },
  });
}

/** Completed, and every word of every page was right or is to be supplied again. */
function checkContents(t: Test, { outcome, error, pages }: RunResult): void {
  t.match({ outcome, error }, { outcome: 'completed', error: null });
  t.match(pages, { touched: PAGES, mismatched: 0 });
  t.equal(pages.verified! + (pages.discarded ?? 0), PAGES, 'every page is accounted for');
}

for (const backing of collapsible) {
  for (const delivery of ['exit', 'handler'] as const) {
    const skip = kvmSkip() || (backing.startsWith('tmpfs') && rootSkip());
    const test = (name: string, body: (t: Test) => Promise<void>) =>
      t.test(`${backing}, ${delivery}: ${name}`, { skip, timeout: 120_000 }, leavesHostAlone(body));

    test('blocks are huge pages as soon as they are complete, and the guest runs on', async (t) => {
      const result = await run({
        backing,
        delivery,
        collapse: 'complete',
        params: { passes: '6' },
      });
      checkContents(t, result);
      const { mappedBytes, collapsedWhileRunning, collapsedAtEnd } = result.hugePages;
      t.equal(mappedBytes.start, 0);
      t.ok(collapsedWhileRunning > 0, `${collapsedWhileRunning} while the guest ran`);
      t.equal(mappedBytes.guestEnd, collapsedWhileRunning * HUGE_PAGE_BYTES);
      t.equal(collapsedWhileRunning + collapsedAtEnd, BLOCKS - 1);
      t.equal(mappedBytes.end, TOUCHED_BYTES, 'all that was touched');
      t.match(result.background, [{ chore: 'collapse', count: collapsedWhileRunning }]);
      t.equal(result.faults.outcomes.installed, PAGES, 'nothing was brought in twice');
    });

    test('blocks are huge pages at the end', async (t) => {
      const result = await run({ backing, delivery, collapse: 'end' });
      checkContents(t, result);
      const { mappedBytes, collapsedWhileRunning, collapsedAtEnd } = result.hugePages;
      t.strictSame(mappedBytes, { start: 0, guestEnd: 0, end: TOUCHED_BYTES });
      t.strictSame([collapsedWhileRunning, collapsedAtEnd], [0, BLOCKS - 1]);
    });

    test('a guest that writes finds its own words in them', async (t) => {
      const result = await run({
        backing,
        delivery,
        collapse: 'complete',
        params: { passes: '4', write: '50' },
      });
      checkContents(t, result);
      t.equal(result.hugePages.mappedBytes.end, TOUCHED_BYTES);
    });

    test('a prefetch completes all of memory: all but the block of the image is huge', async (t) => {
      const result = await run({
        backing,
        delivery,
        collapse: 'complete',
        prefetch: { bytesPerSecond: null },
        params: { passes: '6' },
      });
      checkContents(t, result);
      const { mappedBytes, collapsedWhileRunning } = result.hugePages;
      t.ok(collapsedWhileRunning > 0);
      // A part of that block is the image's and not registered: it stays as it is.
      t.equal(mappedBytes.end, TOUCHED_BYTES);
    });

    test('blocks come and go under discard and prefetch', async (t) => {
      const result = await run({
        backing,
        delivery,
        collapse: 'complete',
        prefetch: { bytesPerSecond: null },
        discard: { bytesPerSecond: 4 * 2 ** 20 },
        params: { passes: '40' },
      });
      checkContents(t, result);
      const count = (name: string) =>
        result.background.find(({ chore }) => chore === name)?.count ?? 0;
      t.ok(count('prefetch') > 0, `${count('prefetch')} units prefetched`);
      t.ok(count('discard') > 0, `${count('discard')} units discarded`);
      t.ok(count('collapse') > 0, `${count('collapse')} blocks collapsed`);
      t.ok(result.hugePages.mappedBytes.end! % HUGE_PAGE_BYTES === 0);
    });
  }
}
