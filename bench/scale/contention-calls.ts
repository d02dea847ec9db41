import { SyscallError } from '../../src/ffi/errors.js';
import { errno, madvise, mmap, mprotect, munmap } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { viewOf } from '../../src/ffi/view.js';
import { type PerfEvents, ThreadPerfCounters } from '../../src/measure/perf-counters.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { findBacking } from '../../src/memory/open-backing.js';
import { PAGE_BYTES } from '../../src/memory/sizes.js';
import { trapMissing } from '../../src/memory/trap.js';
import type { CallLocks } from '../../src/report/contention-result.js';
import { median } from '../../src/report/figures.js';
import {
  MADV_DONTNEED,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/uapi/mman.js';
import type { UffdCalls } from '../../src/uffd/userfaultfd.js';

const BATCHES = 16;
const CALLS_PER_BATCH = 32;
/** Of each call. */
const CALLS = BATCHES * CALLS_PER_BATCH;

/**
 * Whether calls take mmap_lock on this kernel, counted around many of each, of one page each, in this
 * thread: the median of batches, for the engine, which compiles and collects in this thread too, takes
 * it in a few of them. Nobody else changes the address space meanwhile, so no call is repeated.
 *
 * @throws UnsupportedError, SyscallError when userfaultfd cannot be used
 */
export function countCallLocks(events: PerfEvents): CallLocks[] {
  return [...ofShmem(events), ...ofAnonymousMemory(events), ...ofMappings(events)];
}

type Each = (page: number) => void;

/** Twice as many pages as calls: one half is continued, the other poisoned. */
function ofShmem(events: PerfEvents): CallLocks[] {
  const backing = findBacking('shmem');
  using memory = GuestMemory.create(backing, 2 * CALLS * PAGE_BYTES, PAGE_BYTES);
  const { guestAddress, aliasAddress } = memory.layout;
  const { uffds, trap } = trapMissing(memory, false);
  using uffd = uffds[0];
  const words = new Int32Array(viewOf(aliasAddress, CALLS * PAGE_BYTES));
  const page = (index: number): number => guestAddress + index * PAGE_BYTES;
  const alias = (index: number): number => aliasAddress + index * PAGE_BYTES;
  const count = (call: string, note: string, each: Each): CallLocks =>
    countLocks(events, call, note, each);
  const found = [
    count('page fault, alias', 'a store of ours to a page that is not there', (index) => {
      words[(index * PAGE_BYTES) / 4] = index;
    }),
    count('UFFDIO_CONTINUE', 'maps a page of the page cache', (index) => {
      uffd.continueRange(page(index), PAGE_BYTES, PAGE_BYTES);
    }),
  ];
  if (trap.poisons) {
    found.push(
      count('UFFDIO_POISON', 'puts a trap marker where no page is', (index) => {
        uffd.poisonRange(page(CALLS + index), PAGE_BYTES, PAGE_BYTES);
      }),
    );
  }
  found.push(
    count('MADV_POPULATE_WRITE', 'of a page that is not there yet', (index) => {
      checked(
        'MADV_POPULATE_WRITE',
        madvise(alias(CALLS + index), PAGE_BYTES, MADV_POPULATE_WRITE),
      );
    }),
    count('MADV_DONTNEED', 'drops a page of the alias mapping', (index) => {
      checked('MADV_DONTNEED', madvise(alias(index), PAGE_BYTES, MADV_DONTNEED));
    }),
    count('MADV_POPULATE_WRITE', 'of a page that is in the page cache', (index) => {
      checked('MADV_POPULATE_WRITE', madvise(alias(index), PAGE_BYTES, MADV_POPULATE_WRITE));
    }),
  );
  return found;
}

function ofAnonymousMemory(events: PerfEvents): CallLocks[] {
  const backing = findBacking('anon-private');
  using memory = GuestMemory.create(backing, CALLS * PAGE_BYTES, PAGE_BYTES);
  using contents = Mapping.scratch(PAGE_BYTES);
  using uffd: UffdCalls & Disposable = trapMissing(memory, false).uffds[0];
  const { guestAddress } = memory.layout;
  return [
    countLocks(events, 'UFFDIO_COPY', 'maps a new page of anonymous memory', (index) => {
      uffd.copy(guestAddress + index * PAGE_BYTES, contents.address, PAGE_BYTES);
    }),
  ];
}

/** What the writers do besides. */
function ofMappings(events: PerfEvents): CallLocks[] {
  const addresses: number[] = Array.from({ length: CALLS }, () => 0);
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const bytes = 2 * PAGE_BYTES;
  return [
    countLocks(events, 'mmap', 'of two pages', (index) => {
      addresses[index] = mmap(0, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
      checked('mmap', addresses[index]!);
    }),
    countLocks(events, 'mprotect', 'of the second', (index) => {
      checked('mprotect', mprotect(addresses[index]! + PAGE_BYTES, PAGE_BYTES, PROT_READ));
    }),
    countLocks(events, 'munmap', 'for write, then downgraded: two events, one lock', (index) => {
      checked('munmap', munmap(addresses[index]!, bytes));
    }),
  ];
}

/**
 * What tracing makes of a lock that nobody else wants: the mean wait, in microseconds. A wait that is
 * no longer is none. Null where it cannot be traced.
 */
export function uncontendedWait(events: PerfEvents): number | null {
  using counters = new ThreadPerfCounters(events);
  counters.start();
  for (let call = 0; call < CALLS; call++) {
    Mapping.scratch(PAGE_BYTES).close();
  }
  counters.stop();
  const trace = counters.lockTrace();
  const [own] = trace.why === null ? trace.tallies : [];
  return own === undefined ? null : own.write.waitNanoseconds / own.write.acquisitions / 1000;
}

function countLocks(events: PerfEvents, call: string, note: string, each: Each): CallLocks {
  using counters = new ThreadPerfCounters(events);
  const reads: number[] = [];
  const writes: number[] = [];
  let readBefore = 0;
  let writtenBefore = 0;
  for (let batch = 0; batch < BATCHES; batch++) {
    counters.start();
    for (let index = 0; index < CALLS_PER_BATCH; index++) {
      each(batch * CALLS_PER_BATCH + index);
    }
    const { mmapLockAcquisitions: all, mmapLockWrites: write } = counters.stop();
    if (all.value === null || write.value === null) {
      const why = all.value === null ? all.why : write.value === null ? write.why : '';
      return { call, calls: CALLS, read: null, write: null, note: why };
    }
    reads.push((all.value - write.value - readBefore) / CALLS_PER_BATCH);
    writes.push((write.value - writtenBefore) / CALLS_PER_BATCH);
    readBefore = all.value - write.value;
    writtenBefore = write.value;
  }
  return { call, calls: CALLS, read: median(reads), write: median(writes), note };
}

function checked(call: string, result: number): void {
  if (result === -1) {
    throw new SyscallError(call, errno());
  }
}
