import { type ScratchPage, scratch } from '../ffi/scratch.js';
import { KVM_X86_SET_MCE, KVM_X86_SETUP_MCE } from '../uapi/kvm.js';
import {
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_x86_mce,
  MCG_CTL_P,
  MCG_SER_P,
  MCG_STATUS_EIPV,
  MCG_STATUS_MCIP,
  MCG_STATUS_RIPV,
  MCI_STATUS_ADDRV,
  MCI_STATUS_AR,
  MCI_STATUS_EN,
  MCI_STATUS_MISCV,
  MCI_STATUS_POISON,
  MCI_STATUS_S,
  MCI_STATUS_UC,
  MCI_STATUS_VAL,
  MCM_ADDR_PHYS,
} from '../uapi/kvm-x86.js';
import { kvmIoctl } from './kvm-ioctl.js';

/** Whose machine-check architecture the guest's CPU has. */
export type MachineCheckVendor = 'intel' | 'amd';

/** How a CPU reports that an instruction consumed memory that cannot be corrected. */
interface Recipe {
  /** MCG_CAP bits it needs, of those that KVM supports. */
  readonly capabilities: number;
  readonly bank: number;
  /** MCi_STATUS. */
  readonly status: bigint;
}

const UNCORRECTED =
  MCI_STATUS_VAL | MCI_STATUS_UC | MCI_STATUS_EN | MCI_STATUS_MISCV | MCI_STATUS_ADDRV;

/** Data load from the data cache: 0000 0001 RRRR TTLL with R = data read, T = data, L = level 0. */
const MCACOD_DATA_LOAD = 0x134n;

const RECIPES: Readonly<Record<MachineCheckVendor, Recipe>> = {
  /**
   * Software recoverable, action required (SRAR), in the data cache unit: Intel SDM vol. 3B, 16.6.3
   * and 16.9.3. Needs MCG_SER_P.
   */
  intel: {
    capabilities: MCG_CTL_P | MCG_SER_P,
    bank: 1,
    status: UNCORRECTED | MCI_STATUS_S | MCI_STATUS_AR | MCACOD_DATA_LOAD,
  },
  /**
   * Poison consumed, in the load-store unit: AMD APM vol. 2, 9.3.2 (AMD has neither S nor AR; bit 43
   * says that the data was poison).
   */
  amd: {
    capabilities: MCG_CTL_P,
    bank: 0,
    status: UNCORRECTED | MCI_STATUS_POISON | MCACOD_DATA_LOAD,
  },
};

/** Banks of the guest's CPU: KVM has room for 32. */
const BANKS = 10;

/**
 * Nothing but the access is lost: RIP is that of the instruction that made it (EIPV), which can be
 * started again once the page is replaced (RIPV).
 */
const MCG_STATUS = MCG_STATUS_MCIP | MCG_STATUS_EIPV | MCG_STATUS_RIPV;

/** From the vendor string of a `struct kvm_cpuid2`: AMD and Hygon are AMD's, all others as Intel's. */
export function machineCheckVendor(cpuid: ScratchPage): MachineCheckVendor {
  const { offset, size } = kvm_cpuid_entry2;
  const count = cpuid.u32[kvm_cpuid2.offset.nent >> 2]!;
  for (let entry = 0; entry < count; entry++) {
    const start = kvm_cpuid2.size + entry * size;
    if (cpuid.u32[(start + offset.function) >> 2] === 0) {
      const words = [offset.ebx, offset.edx, offset.ecx].map((at) => cpuid.u32[(start + at) >> 2]!);
      const vendor = new TextDecoder('latin1').decode(Uint32Array.from(words));
      return vendor === 'AuthenticAMD' || vendor === 'HygonGenuine' ? 'amd' : 'intel';
    }
  }
  return 'intel';
}

/**
 * KVM_X86_SETUP_MCE: the banks that the guest's CPU has. All its errors are enabled, as firmware
 * would leave them.
 *
 * @param supported what KVM_X86_GET_MCE_CAP_SUPPORTED says
 */
export function setUpMachineChecks(
  vcpu: number,
  vendor: MachineCheckVendor,
  supported: number,
): void {
  scratch.setU64(0, BANKS + (supported & RECIPES[vendor].capabilities));
  kvmIoctl('KVM_X86_SETUP_MCE', vcpu, KVM_X86_SETUP_MCE, scratch.address);
}

/**
 * KVM_X86_SET_MCE: the next KVM_RUN of this vCPU begins with a machine check (vector 18) about
 * memory at `gpa`. A guest that has CR4.MCE clear, or has not dealt with the one before
 * (MCG_STATUS.MCIP), is shut down by it, as by a CPU.
 *
 * @param addressBits the lowest bit of the address that means something: log2 of what was lost
 */
export function injectMachineCheck(
  vcpu: number,
  vendor: MachineCheckVendor,
  gpa: number,
  addressBits: number,
): void {
  const { bank, status } = RECIPES[vendor];
  const { offset } = kvm_x86_mce;
  scratch.clear(0, kvm_x86_mce.size);
  scratch.u32[offset.status >> 2] = Number(status & 0xffff_ffffn);
  scratch.u32[(offset.status >> 2) + 1] = Number(status >> 32n);
  scratch.setU64(offset.addr, gpa);
  scratch.setU64(offset.misc, (MCM_ADDR_PHYS << 6) | addressBits);
  scratch.setU64(offset.mcg_status, MCG_STATUS);
  scratch.u8[offset.bank] = bank;
  kvmIoctl('KVM_X86_SET_MCE', vcpu, KVM_X86_SET_MCE, scratch.address);
}
