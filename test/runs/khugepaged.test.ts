/** Guests whose memory the kernel collapses behind our back, in every way it can be made to. */
import t, { type Test } from 'tap';
import { ioctl } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { BACKING_KINDS, BACKINGS, type BackingKind } from '../../src/memory/backing.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { MADV_COLLAPSE } from '../../src/uapi/mman.js';
import {
  UFFDIO_WRITEPROTECT,
  UFFDIO_WRITEPROTECT_MODE_WP,
  uffdio_range,
  uffdio_writeprotect,
} from '../../src/uapi/userfaultfd.js';
import { Attack, type AttackReport } from '../support/attack.js';
import { type FoundMemory, findGuestMemory, mapAgain } from '../support/found-memory.js';
import { kvmSkip, rootSkip } from '../support/host.js';
import {
  KHUGEPAGED,
  leavesHostAlone,
  readKnob,
  SHMEM_ENABLED,
  THP_ENABLED,
  withKnobs,
} from '../support/host-knobs.js';
import { censusOf } from '../support/page-table.js';

t.setTimeout(900_000);
const skip = kvmSkip() || rootSkip();
const MEMORY_BYTES = 8 * HUGE_PAGE_BYTES;
const PAGES = (MEMORY_BYTES - HUGE_PAGE_BYTES) / 4096;
/** Where vCPUs sleep the failure to fear is a hang: nothing here takes more than some seconds. */
const DEADLINE_SECONDS = 60;

const collapsible = BACKING_KINDS.filter((kind) => BACKINGS[kind].collapsible);
const ofFiles = collapsible.filter((kind) => BACKINGS[kind].alias);
/** To the kernel these are shmem. */
const BY_ANOTHER_NAME: readonly BackingKind[] = ['anon-shared', 'tmpfs'];
const deliveries = ['exit', 'handler'] as const;

type Options = Omit<RunOptions, 'image'>;

function start(options: Options): Promise<RunResult> {
  const run = runGuest({
    image: 'touch',
    memoryBytes: MEMORY_BYTES,
    handlers: 2,
    countKernelEvents: false,
    timeoutSeconds: DEADLINE_SECONDS,
    ...options,
    params: { order: 'random', ...options.params },
  });
  run.catch(() => undefined); // who awaits it hears of it
  return run;
}

function checkContents(t: Test, { outcome, error, pages }: RunResult): void {
  t.match({ outcome, error }, { outcome: 'completed', error: null });
  t.match(pages, { touched: PAGES, mismatched: 0 });
  t.equal(pages.verified! + (pages.discarded ?? 0), PAGES, 'every page is accounted for');
}

/** Runs a guest while another thread collapses every block of its memory without a pause. */
async function underCollapse(
  options: Options,
  through: 'another mapping' | 'the guest mapping',
): Promise<RunResult & { readonly report: AttackReport }> {
  const attack = await Attack.prepare(); // first: a short run would be over before its thread is there
  const run = start(options);
  const memory = findGuestMemory();
  const foreign = through === 'another mapping' ? mapAgain(memory) : null;
  const address = foreign?.address ?? memory.guestAddress;
  attack.begin({ address, bytes: memory.bytes, advice: MADV_COLLAPSE });
  const [end] = await Promise.allSettled([run]);
  const report = await attack.end();
  foreign?.close();
  if (end.status === 'rejected') {
    throw end.reason;
  }
  return { ...end.value, report };
}

const DISCARD = { bytesPerSecond: 4 * 2 ** 20 };
const MOST_ATTEMPTS = 6;

for (const delivery of deliveries) {
  for (const backing of ofFiles) {
    t.test(
      `${backing}, ${delivery}: collapsed through another mapping while it faults`,
      { skip, timeout: 200_000 },
      leavesHostAlone(async (t) => {
        for (const vcpus of BY_ANOTHER_NAME.includes(backing) ? [4] : [1, 4]) {
          // A run may be over before a collapse has got in its way: it is made again.
          const met = { remapped: 0, retried: 0 };
          const isMet = (): boolean => met.remapped > 0 && (met.retried > 0 || delivery !== 'exit');
          for (let attempt = 0; attempt < MOST_ATTEMPTS && !isMet(); attempt++) {
            const writing = await underCollapse(
              { backing, delivery, vcpus, params: { passes: '3', write: '50' } },
              'another mapping',
            );
            // Discards make holes and take huge pages apart: there is always something to collapse.
            const discarding = await underCollapse(
              {
                backing,
                delivery,
                vcpus,
                params: { passes: '3', share: 'overlap' },
                discard: DISCARD,
              },
              'another mapping',
            );
            for (const { report, ...result } of [writing, discarding]) {
              checkContents(t, result);
              t.ok(report.done > 0, `${report.done} of ${report.calls} collapses succeeded`);
            }
            // In a file on tmpfs-huge all is one huge page, until a part of it is discarded.
            met.remapped += (
              backing === 'tmpfs-huge' ? discarding : writing
            ).faults.outcomes.remapped;
            met.retried += discarding.faults.outcomes.retried;
          }
          t.ok(met.remapped > 0, `${met.remapped} remapped`);
          if (delivery === 'exit') {
            t.ok(
              met.retried > 0,
              `${met.retried} faults were nothing but in the middle of a change`,
            );
          }
        }
      }),
    );
  }

  for (const backing of collapsible) {
    t.test(
      `${backing}, ${delivery}: the guest mapping itself collapsed while it faults`,
      { skip, timeout: 200_000 },
      leavesHostAlone(async (t) => {
        for (const [vcpus, collapse] of [
          [1, 'never'],
          [4, 'complete'],
        ] as const) {
          const result = await underCollapse(
            { backing, delivery, vcpus, collapse, discard: DISCARD, params: { passes: '5' } },
            'the guest mapping',
          );
          checkContents(t, result);
          t.ok(result.report.calls > 100, `${result.report.calls} attempts`);
        }
      }),
    );
  }
}

/** Collapses are everybody's, as fast as the kernel can. */
const FORCED = {
  [THP_ENABLED]: 'always',
  [SHMEM_ENABLED]: 'always',
  [`${KHUGEPAGED}/pages_to_scan`]: 2 ** 32 - 1,
  [`${KHUGEPAGED}/alloc_sleep_millisecs`]: 0,
  [`${KHUGEPAGED}/scan_sleep_millisecs`]: 0,
};
const FULL_SCANS = 2;

const fullScans = (): number => Number(readKnob(`${KHUGEPAGED}/full_scans`));

/**
 * Runs the guest until khugepaged has gone over all memory while it faulted.
 *
 * @param effect and until it has had an effect on the guest's page table
 */
async function untilScanned(t: Test, options: Options, effect: boolean): Promise<void> {
  const deadline = Date.now() + DEADLINE_SECONDS * 1000;
  let scans = 0;
  let remapped = 0;
  while ((scans < FULL_SCANS || (effect && remapped === 0)) && Date.now() < deadline) {
    const before = fullScans();
    const run = start(options);
    // Our mappings are MADV_NOHUGEPAGE but on tmpfs-huge; this is one of somebody less careful.
    const foreign = ofFiles.includes(options.backing as BackingKind)
      ? mapAgain(findGuestMemory())
      : null;
    const [end] = await Promise.allSettled([run]);
    foreign?.close();
    scans = Math.max(scans, fullScans() - before);
    if (end.status === 'rejected') {
      throw end.reason;
    }
    checkContents(t, end.value);
    remapped += end.value.faults.outcomes.remapped;
  }
  t.ok(scans >= FULL_SCANS, `${scans} scans of all memory during a run`);
  if (effect) {
    t.ok(remapped > 0, `${remapped} entries were taken away and put back`);
  }
}

for (const delivery of deliveries) {
  for (const backing of collapsible) {
    t.test(
      `${backing}, ${delivery}: khugepaged at its fastest`,
      { skip, timeout: 200_000 },
      leavesHostAlone((t) =>
        withKnobs(FORCED, async () => {
          const vcpus = 2;
          // Anonymous memory has no other mapping; a mount with huge=never is left alone.
          const effect = ofFiles.includes(backing) && backing !== 'tmpfs';
          const discarding = { discard: DISCARD, params: { passes: '10', share: 'overlap' } };
          await untilScanned(t, { backing, delivery, vcpus, ...discarding }, effect);
          const writing = { params: { passes: '10', write: '50' }, collapse: 'complete' } as const;
          await untilScanned(t, { backing, delivery, vcpus, ...writing }, false);
        }),
      ),
    );
  }
}

function protect({ uffd, guestAddress, bytes }: FoundMemory): number {
  const page = new ScratchPage(64);
  const { offset } = uffdio_writeprotect;
  page.setU64(offset.range + uffdio_range.offset.start, guestAddress + HUGE_PAGE_BYTES);
  page.setU64(offset.range + uffdio_range.offset.len, bytes - HUGE_PAGE_BYTES);
  page.setU64(offset.mode, UFFDIO_WRITEPROTECT_MODE_WP);
  return ioctl(uffd, UFFDIO_WRITEPROTECT, page.address);
}

/** Entries of the guest mapping that are write-protected, whether their page is there or not. */
function protectedEntries({ guestAddress, bytes }: FoundMemory): number {
  const { presentProtected, protectMarkers } = censusOf(guestAddress, bytes);
  return presentProtected + protectMarkers;
}

/** Entries of what the guest touches that wait for their page. */
function trapMarkers({ guestAddress, bytes }: FoundMemory): number {
  return censusOf(guestAddress + HUGE_PAGE_BYTES, bytes - HUGE_PAGE_BYTES).markers;
}

for (const backing of ofFiles.filter((kind) => kind !== 'tmpfs-huge')) {
  t.test(
    `${backing}, exit: write-protected memory is collapsed, read on, and stays protected`,
    { skip, timeout: 200_000 },
    leavesHostAlone(async (t) => {
      const attack = await Attack.prepare();
      const counts: number[] = [];
      let memory: FoundMemory | null = null;
      const run = start({
        backing,
        delivery: 'exit',
        vcpus: 2,
        params: { passes: '100', share: 'overlap' },
        onProgress: () => {
          // A page that is missing yet has a trap marker, which takes no protection.
          if (memory === null || (counts.length === 0 && trapMarkers(memory) > 0)) {
            return;
          }
          if (counts.length === 0) {
            t.equal(protect(memory), 0);
          } else if (counts.length === 1) {
            attack.begin({ address: foreign.address, bytes: foreign.bytes, advice: MADV_COLLAPSE });
          }
          counts.push(protectedEntries(memory));
        },
      });
      memory = findGuestMemory();
      const foreign = mapAgain(memory);
      const [end] = await Promise.allSettled([run]);
      const report = await attack.end();
      foreign.close();
      if (end.status === 'rejected') {
        throw end.reason;
      }
      checkContents(t, end.value);
      t.ok(report.done > 0, `${report.done} collapses`);
      t.ok(end.value.faults.outcomes.remapped > 0, 'protected entries were put back');
      t.ok(counts.length > 3, `looked at ${counts.length} times`);
      t.ok(
        counts.every((count) => count === PAGES),
        `protected: ${counts}`,
      );
    }),
  );
}
