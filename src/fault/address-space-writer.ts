import { SyscallError } from '../ffi/errors.js';
import { errno, madvise, mmap, mprotect, munmap } from '../ffi/libc.js';
import {
  MADV_DONTNEED,
  MAP_ANONYMOUS,
  MAP_POPULATE,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../uapi/mman.js';
import type { ChoreEnd } from './chores.js';
import type { Pace } from './pace.js';
import type { WorkerControl } from './worker-control.js';

/** Mapped and unmapped at a time: what an allocator takes and gives back. */
const RANGE_BYTES = 65536;

/**
 * Changes the address space elsewhere, as a VMM's other threads do, for as long as the guest runs:
 * mmap (populated), mprotect, MADV_DONTNEED and munmap of the same 64 KiB in turn. Three of them take
 * mmap_lock for write, mmap once more for read; MADV_DONTNEED takes it for read, and from Linux 6.16
 * on (mem) not at all.
 */
export function changeAddressSpace(control: WorkerControl, pace: Pace): ChoreEnd {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
  let calls = 0;
  const made = (name: string, result: number): void => {
    if (result === -1) {
      throw new SyscallError(`${name} of a writer`, errno());
    }
    calls++;
    pace.spend(1);
  };
  while (!control.stopping) {
    const address = mmap(0, RANGE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    made('mmap', address);
    made('mprotect', mprotect(address, RANGE_BYTES, PROT_READ));
    made('madvise(MADV_DONTNEED)', madvise(address, RANGE_BYTES, MADV_DONTNEED));
    made('munmap', munmap(address, RANGE_BYTES));
  }
  return { reason: 'stopped', count: calls, calls, failures: {} };
}
