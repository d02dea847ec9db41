import { join } from 'node:path';
import t, { type Test } from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { DELIVERY_NAMES, type DeliveryName } from '../../src/machine/delivery.js';
import { WORKLOAD_START } from '../../src/machine/guest-physical-map.js';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { whyRefused } from '../../src/machine/refusals.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { BACKING_KINDS, type BackingName } from '../../src/memory/backing.js';
import { findBacking } from '../../src/memory/open-backing.js';
import { formatSize, HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { kvmSkip, rootSkip } from '../support/host.js';
import { hugetlbSkip, leavesHostAlone, withHugetlbPages } from '../support/host-knobs.js';

const GIB = 2 ** 30;
const MEMORY_BYTES = 4 * HUGE_PAGE_BYTES;
/** All but the first 2 MiB, and not to the end of a block. */
const PAGES = 1500;

t.setTimeout(900_000);
const skip = kvmSkip();
const began = performance.now();
let runs = 0;
let refused = 0;

type Wanted = Required<
  Pick<RunOptions, 'backing' | 'delivery' | 'unitBytes' | 'memoryBytes' | 'vcpus' | 'params'>
>;

/** A run that must complete with every byte right, or must be refused with the reason. */
async function check(t: Test, name: string, options: Wanted): Promise<void> {
  const { backing, delivery, unitBytes } = options;
  const run = runGuest({
    image: 'touch',
    handlers: 2,
    countKernelEvents: false,
    timeoutSeconds: 60,
    ...options,
  });
  const refusal = whyRefused(findBacking(backing), {
    delivery: delivery as DeliveryName,
    unitBytes,
  });
  if (refusal !== null) {
    refused++;
    const error = await run.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    t.ok(error instanceof UsageError, `${name} is refused`, { found: error });
    const { message } = error as UsageError;
    t.ok(message.includes(refusal.flag) && message.includes(refusal.reason), message);
    return;
  }
  runs++;
  const result = await run;
  const pages = Number(options.params.pages);
  t.match(
    { outcome: result.outcome, error: result.error, pages: result.pages },
    {
      outcome: 'completed',
      error: null,
      pages: { touched: pages, verified: pages, mismatched: 0 },
    },
    `${name} completes and verifies`,
  );
  if (delivery !== 'kernel') {
    const last = Math.floor((WORKLOAD_START + pages * 4096 - 1) / unitBytes);
    // The image lies in the first 2 MiB: what is in the same unit is there from the beginning.
    const first = Math.max(1, WORKLOAD_START / unitBytes);
    t.equal(
      result.faults.outcomes.installed,
      last - Math.floor(first) + 1,
      `${name} brings every unit in once`,
    );
  }
}

/** Every unit, order and number of vCPUs; every other run writes. */
async function checkAll(t: Test, backing: BackingName, delivery: DeliveryName): Promise<void> {
  const { pageBytes } = findBacking(backing);
  let write = 0;
  for (const unitBytes of new Set([pageBytes, 65536, HUGE_PAGE_BYTES])) {
    for (const order of ['sequential', 'random']) {
      for (const vcpus of [1, 4]) {
        write = 50 - write;
        await check(t, `unit ${formatSize(unitBytes)}, ${order}, ${vcpus} vCPUs, write ${write}`, {
          backing,
          delivery,
          unitBytes,
          memoryBytes: MEMORY_BYTES,
          vcpus,
          params: { pages: String(PAGES), order, write: String(write), seed: String(runs) },
        });
      }
      write = 50 - write; // so that both orders and both numbers of vCPUs have both
    }
  }
}

/** Reasons why a backing cannot be had here. */
function backingSkip(backing: BackingName): string | false {
  return backing.startsWith('tmpfs') ? rootSkip() : false;
}

function matrixOf(label: string, backing: (t: Test) => BackingName, skipped: string | false) {
  for (const delivery of DELIVERY_NAMES) {
    t.test(
      `${label}, ${delivery}: every unit, order and number of vCPUs`,
      { skip: skip || skipped, timeout: 200_000 },
      leavesHostAlone((t) => checkAll(t, backing(t), delivery)),
    );
  }
}

for (const kind of BACKING_KINDS.filter((kind) => !kind.startsWith('hugetlb'))) {
  matrixOf(kind, () => kind, backingSkip(kind));
}

/** A file that is not there yet, in a directory of the test's own. */
const onDisk = (t: Test): string => join(t.testdir(), 'memory');
const isTmpfs = (path: string): boolean => {
  try {
    return findBacking(`file:${path}`).uffdModes !== 0;
  } catch {
    return false;
  }
};
const diskSkip = isTmpfs(onDisk(t)) && 'needs a working directory that is not on tmpfs';
const SHM = `/dev/shm/faultline-test-${process.pid}`;
matrixOf('file: on tmpfs', () => `file:${SHM}`, !isTmpfs(SHM) && 'needs /dev/shm to be a tmpfs');
matrixOf('file: on a disk', (t) => `file:${onDisk(t)}`, diskSkip);
matrixOf('file-private: on a disk', (t) => `file-private:${onDisk(t)}`, diskSkip);

const hugePages = MEMORY_BYTES / HUGE_PAGE_BYTES;
const no2M = skip || (await hugetlbSkip(HUGE_PAGE_BYTES, hugePages));
for (const backing of ['hugetlb-2M', 'hugetlb-private-2M'] as const) {
  for (const delivery of DELIVERY_NAMES) {
    t.test(
      `${backing}, ${delivery}: every unit, order and number of vCPUs`,
      { skip: no2M, timeout: 200_000 },
      leavesHostAlone((t) =>
        withHugetlbPages(HUGE_PAGE_BYTES, hugePages, () => checkAll(t, backing, delivery)),
      ),
    );
  }
}

const no1G = skip || (await hugetlbSkip(GIB, 2));
for (const delivery of DELIVERY_NAMES) {
  t.test(
    `hugetlb-1G, ${delivery}: two pages, of which the guest's accesses bring in one`,
    { skip: no1G, timeout: 200_000 },
    leavesHostAlone((t) =>
      withHugetlbPages(GIB, 2, async () => {
        const pages = String((GIB - WORKLOAD_START) / 4096 + 1000);
        for (const [order, vcpus, write] of [
          ['sequential', 1, '50'],
          ['random', 4, '0'],
        ] as const) {
          await check(t, `${order}, ${vcpus} vCPUs, write ${write}`, {
            backing: 'hugetlb-1G',
            delivery,
            unitBytes: GIB,
            memoryBytes: 2 * GIB,
            vcpus,
            params: { pages, order, write },
          });
        }
        await check(t, 'a unit smaller than the page', {
          backing: 'hugetlb-1G',
          delivery,
          unitBytes: HUGE_PAGE_BYTES,
          memoryBytes: 2 * GIB,
          vcpus: 1,
          params: { pages: '1' },
        });
      }),
    ),
  );
}

t.teardown(() => {
  const seconds = (performance.now() - began) / 1000;
  console.error(`${runs} runs and ${refused} refusals took ${seconds.toFixed(0)} s`);
});
