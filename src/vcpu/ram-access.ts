import type { RunPage } from '../kvm/run-page.js';
import { type GuestAccess, openAccess } from '../memory/guest-access.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { kvm_run_mmio } from '../uapi/kvm-run.js';

const DATA = kvm_run_mmio.offset.data;

/**
 * Completes a KVM_EXIT_MMIO whose address lies in RAM. KVM emulates some accesses (all of a guest
 * at CPL0 under shadow paging); when the page is trapped its own copy fails and it takes the page
 * for a device. The page must have been resolved, and claimed, so that nobody discards it meanwhile.
 */
export function createRamAccess(memory: GuestMemoryLayout): (page: RunPage) => void {
  let access: GuestAccess | null = null;
  return (page) => {
    access ??= openAccess(memory); // guests that KVM does not emulate never come here
    const address = page.mmioAddress;
    const length = Math.min(page.mmioLength, memory.bytes - address);
    if (page.mmioIsWrite) {
      access.write(address, page.u8.subarray(DATA, DATA + length));
    } else {
      page.u8.set(access.read(address, length), DATA);
    }
  };
}
