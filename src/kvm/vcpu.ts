import { Descriptor } from '../ffi/descriptor.js';
import { Mapping } from '../ffi/mapping.js';
import { type ScratchPage, scratch } from '../ffi/scratch.js';
import {
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_GET_TSC_KHZ,
  KVM_SET_CPUID2,
  KVM_SET_REGS,
  KVM_SET_SIGNAL_MASK,
  KVM_SET_SREGS,
  kvm_signal_mask,
} from '../uapi/kvm.js';
import { EFER_LMA, kvm_regs, kvm_segment, kvm_sregs } from '../uapi/kvm-x86.js';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../uapi/mman.js';
import { kvmIoctl } from './kvm-ioctl.js';
import type { PagingRegisters } from './page-walk.js';

export type GeneralRegister = keyof typeof kvm_regs.offset;
export type GeneralRegisters = Partial<Record<GeneralRegister, number>>;

export type CodeBits = 16 | 32 | 64;

/** Which instruction a vCPU stands at, and what it takes to read it. */
export interface CodePosition extends PagingRegisters {
  readonly rip: bigint;
  /** RIP and the base of CS, as the code's mode adds them up. */
  readonly linear: bigint;
  readonly bits: CodeBits;
}

/**
 * A vCPU and the mapping of its `kvm_run` page. It is created and set up on any thread, but must
 * be run by one thread only; another thread may write `immediate_exit` into the page.
 */
export class Vcpu extends Descriptor {
  readonly runPage: Mapping;

  constructor(fd: number, runPageBytes: number) {
    super(fd);
    try {
      this.runPage = Mapping.create(runPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    } catch (error) {
      super.close();
      throw error;
    }
  }

  override close(): void {
    this.runPage.close();
    super.close();
  }

  /** KVM_SET_CPUID2. Before setRegisters: long mode is refused to a CPU without it (6.12 on). */
  setCpuid(cpuid: ScratchPage): void {
    kvmIoctl('KVM_SET_CPUID2', this.fd, KVM_SET_CPUID2, cpuid.address);
  }

  /**
   * KVM_SET_SREGS over what KVM_GET_SREGS reports.
   *
   * @param change writes the fields to change into the `struct kvm_sregs` at offset 0 of the page
   */
  changeSystemRegisters(change: (sregs: ScratchPage) => void): void {
    kvmIoctl('KVM_GET_SREGS', this.fd, KVM_GET_SREGS, scratch.address);
    change(scratch);
    kvmIoctl('KVM_SET_SREGS', this.fd, KVM_SET_SREGS, scratch.address);
  }

  /** KVM_SET_REGS; registers not named become 0. Values below 2^53. */
  setRegisters(registers: GeneralRegisters): void {
    scratch.clear(0, kvm_regs.size);
    for (const [name, value] of Object.entries(registers)) {
      scratch.setU64(kvm_regs.offset[name as GeneralRegister], value);
    }
    kvmIoctl('KVM_SET_REGS', this.fd, KVM_SET_REGS, scratch.address);
  }

  /** See {@link readRegisters}. */
  registers(): Record<GeneralRegister, number> {
    return readRegisters(this.fd);
  }

  /** The control registers and the base of CS, for reports. */
  systemRegisters(): { cr0: number; cr3: number; cr4: number; efer: number; csBase: number } {
    kvmIoctl('KVM_GET_SREGS', this.fd, KVM_GET_SREGS, scratch.address);
    const { cr0, cr3, cr4, efer, cs } = kvm_sregs.offset;
    return {
      cr0: scratch.getU64(cr0),
      cr3: scratch.getU64(cr3),
      cr4: scratch.getU64(cr4),
      efer: scratch.getU64(efer),
      csBase: scratch.getU64(cs + kvm_segment.offset.base),
    };
  }

  /** Exact, where {@link registers} may lose the low bits of a kernel's addresses. */
  codePosition(): CodePosition {
    kvmIoctl('KVM_GET_REGS', this.fd, KVM_GET_REGS, scratch.address);
    const rip = scratch.getBigU64(kvm_regs.offset.rip);
    const { cr0, cr3, cr4, efer, csBase } = this.systemRegisters();
    const { cs } = kvm_sregs.offset; // systemRegisters has left them in the page
    const has = (field: 'l' | 'db'): boolean => scratch.u8[cs + kvm_segment.offset[field]] !== 0;
    const isLong = (efer & EFER_LMA) !== 0 && has('l');
    return {
      cr0,
      cr3,
      cr4,
      efer,
      rip,
      linear: isLong ? rip : (BigInt(csBase) + rip) & 0xffff_ffffn,
      bits: isLong ? 64 : has('db') ? 32 : 16,
    };
  }

  /**
   * KVM_SET_SIGNAL_MASK with the empty set: a signal that the thread has blocked interrupts
   * KVM_RUN and is still pending, and not delivered, when it returns.
   */
  unblockAllSignalsInGuest(): void {
    scratch.clear(0, 16);
    scratch.u32[kvm_signal_mask.offset.len >> 2] = 8;
    kvmIoctl('KVM_SET_SIGNAL_MASK', this.fd, KVM_SET_SIGNAL_MASK, scratch.address);
  }

  /** KVM_GET_TSC_KHZ: frequency of the guest's TSC in kHz. */
  tscKilohertz(): number {
    return kvmIoctl('KVM_GET_TSC_KHZ', this.fd, KVM_GET_TSC_KHZ, 0);
  }
}

/** KVM_GET_REGS. Values above 2^53 lose their low bits: these are for reports. */
export function readRegisters(vcpu: number): Record<GeneralRegister, number> {
  kvmIoctl('KVM_GET_REGS', vcpu, KVM_GET_REGS, scratch.address);
  const registers = {} as Record<GeneralRegister, number>;
  for (const [name, offset] of Object.entries(kvm_regs.offset)) {
    registers[name as GeneralRegister] = scratch.getU64(offset);
  }
  return registers;
}
