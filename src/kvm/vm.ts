import { Descriptor } from '../ffi/descriptor.js';
import { scratch } from '../ffi/scratch.js';
import {
  KVM_CAP_SET_IDENTITY_MAP_ADDR,
  KVM_CAP_SET_TSS_ADDR,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_PIT2,
  KVM_CREATE_VCPU,
  KVM_PIT_SPEAKER_DUMMY,
  KVM_SET_IDENTITY_MAP_ADDR,
  KVM_SET_TSS_ADDR,
  KVM_SET_USER_MEMORY_REGION,
  kvm_pit_config,
  kvm_userspace_memory_region as region,
} from '../uapi/kvm.js';
import { kvmIoctl } from './kvm-ioctl.js';
import { Vcpu } from './vcpu.js';

/** One memslot: guest physical memory served from a range of this process's addresses. */
export interface Memslot {
  readonly slot: number;
  /** KVM_MEM_* */
  readonly flags: number;
  readonly guestPhysicalAddress: number;
  /** 0 deletes the slot. */
  readonly bytes: number;
  readonly userspaceAddress: number;
}

/** A virtual machine. Closing it does not close its vCPUs. */
export class Vm extends Descriptor {
  private readonly runPageBytes: number;

  constructor(fd: number, runPageBytes: number) {
    super(fd);
    this.runPageBytes = runPageBytes;
  }

  /** KVM_CHECK_EXTENSION on the VM, which may know better than `/dev/kvm`. */
  checkExtension(capability: number): number {
    return kvmIoctl('KVM_CHECK_EXTENSION', this.fd, KVM_CHECK_EXTENSION, capability);
  }

  /**
   * Puts KVM's three-page TSS and one-page identity map below the largest BIOS, out of the way of
   * guest RAM. VMX without unrestricted guest needs them to run real mode; others ignore them.
   */
  reserveRealModePages(): void {
    if (this.checkExtension(KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0) {
      scratch.setU64(0, 0xfeff_c000);
      kvmIoctl('KVM_SET_IDENTITY_MAP_ADDR', this.fd, KVM_SET_IDENTITY_MAP_ADDR, scratch.address);
    }
    if (this.checkExtension(KVM_CAP_SET_TSS_ADDR) > 0) {
      kvmIoctl('KVM_SET_TSS_ADDR', this.fd, KVM_SET_TSS_ADDR, 0xfeff_d000);
    }
  }

  /** Interrupt controllers and timer of a PC, in the kernel. Before any vCPU is created. */
  createInterruptControllers(): void {
    kvmIoctl('KVM_CREATE_IRQCHIP', this.fd, KVM_CREATE_IRQCHIP, 0);
    scratch.clear(0, kvm_pit_config.size);
    // Port 0x61 too, by which a guest measures its TSC against the timer.
    scratch.u32[kvm_pit_config.offset.flags >> 2] = KVM_PIT_SPEAKER_DUMMY;
    kvmIoctl('KVM_CREATE_PIT2', this.fd, KVM_CREATE_PIT2, scratch.address);
  }

  setUserMemoryRegion(memslot: Memslot): void {
    scratch.clear(0, region.size);
    scratch.u32[region.offset.slot >> 2] = memslot.slot;
    scratch.u32[region.offset.flags >> 2] = memslot.flags;
    scratch.setU64(region.offset.guest_phys_addr, memslot.guestPhysicalAddress);
    scratch.setU64(region.offset.memory_size, memslot.bytes);
    scratch.setU64(region.offset.userspace_addr, memslot.userspaceAddress);
    kvmIoctl('KVM_SET_USER_MEMORY_REGION', this.fd, KVM_SET_USER_MEMORY_REGION, scratch.address);
  }

  createVcpu(id: number): Vcpu {
    const fd = kvmIoctl('KVM_CREATE_VCPU', this.fd, KVM_CREATE_VCPU, id);
    return new Vcpu(fd, this.runPageBytes);
  }
}
