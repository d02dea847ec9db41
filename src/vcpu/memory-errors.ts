import type { MemoryErrorCause, MemoryFailure } from '../fault/memory-error.js';
import { injectMachineCheck, type MachineCheckVendor } from '../kvm/machine-check.js';
import { readRegisters } from '../kvm/vcpu.js';

/** A memory error that a vCPU met. */
export interface MemoryErrorRecord {
  /** What was touched, as precisely as it was reported: the byte, or its page. */
  readonly gpa: number;
  readonly hva: number;
  /** Of the instruction that touched it. */
  readonly rip: number;
  readonly cause: MemoryErrorCause;
  /** 0 where no call failed. */
  readonly errno: number;
  /** Whether the guest was told, by a machine check, and ran on. */
  readonly injected: boolean;
}

/** What a vCPU does about memory that failed. */
export interface MemoryErrors {
  /** Whether the guest was told and may run on. `emulated`: KVM waits for the access to be completed. */
  readonly answer: (failure: MemoryFailure, gpa: number, emulated: boolean) => boolean;
  /** The first ones. */
  readonly records: readonly MemoryErrorRecord[];
  readonly count: () => number;
}

/** A guest that starts the instruction again, and again, is told each time; these are kept. */
const MOST_RECORDS = 64;

/**
 * @param vcpu its descriptor; used on its own thread, outside KVM_RUN
 * @param vendor whose machine checks the guest knows; null: it is not told, the run stops
 */
export function createMemoryErrors(
  vcpu: number,
  vendor: MachineCheckVendor | null,
  { guestAddress, unitBytes }: { readonly guestAddress: number; readonly unitBytes: number },
): MemoryErrors {
  const records: MemoryErrorRecord[] = [];
  let count = 0;
  return {
    records,
    count: () => count,
    answer: ({ cause, errno }, gpa, emulated) => {
      // KVM completes an access that it emulates, with whatever bytes: a machine check comes too late.
      const injected = vendor !== null && !emulated;
      const { rip } = readRegisters(vcpu);
      if (vendor !== null && injected) {
        injectMachineCheck(vcpu, vendor, gpa, Math.log2(unitBytes));
      }
      count++;
      if (records.length < MOST_RECORDS) {
        records.push({ gpa, hva: guestAddress + gpa, rip, cause, errno, injected });
      }
      return injected;
    },
  };
}
