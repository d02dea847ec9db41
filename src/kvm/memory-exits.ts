import { constants } from 'node:os';
import { SyscallError } from '../ffi/errors.js';
import { Mapping } from '../ffi/mapping.js';
import {
  KVM_CAP_MEM_EXIT,
  KVM_MEM_EXIT_ON_MISSING,
  KVM_MEM_EXIT_ON_USERFAULT,
} from '../uapi/kvm.js';
import { KvmSystem } from './kvm-system.js';

/**
 * What makes KVM_RUN return for a missing page with its address, by a flag of its memslot: the two
 * designs of 2022 that never reached mainline. The kernel of guest-images/lab has both.
 *
 * - `missing` (no-slow-GUP): as soon as fast GUP fails
 * - `userfault` (PF_NO_UFFD_WAIT): where slow GUP would wait for a userfaultfd
 */
export const MEMSLOT_EXITS = {
  missing: KVM_MEM_EXIT_ON_MISSING,
  userfault: KVM_MEM_EXIT_ON_USERFAULT,
} as const;

export type MemslotExit = keyof typeof MEMSLOT_EXITS;

let offered: readonly MemslotExit[] | null = null;

/** Those that this host's KVM has, in the order in which they are worth having. */
export function offeredMemslotExits(): readonly MemslotExit[] {
  if (offered === null) {
    using system = KvmSystem.open();
    const names = Object.keys(MEMSLOT_EXITS) as MemslotExit[];
    offered = names.filter((exit) => offersMemslotExit(system, exit));
  }
  return offered;
}

/**
 * Whether KVM takes the flag, and means this by it: it is tried on a VM made for that. The number
 * alone is no proof, for other proposals use the same bit.
 */
function offersMemslotExit(system: KvmSystem, exit: MemslotExit): boolean {
  const flags = MEMSLOT_EXITS[exit];
  if ((system.checkExtension(KVM_CAP_MEM_EXIT) & flags) === 0) {
    return false;
  }
  using vm = system.createVm();
  using page = Mapping.reserve(4096);
  const slot = { slot: 0, guestPhysicalAddress: 0, bytes: 4096, userspaceAddress: page.address };
  try {
    vm.setUserMemoryRegion({ ...slot, flags });
    return true;
  } catch (error) {
    if (error instanceof SyscallError && error.errno === constants.errno.EINVAL) {
      return false;
    }
    throw error;
  }
}
