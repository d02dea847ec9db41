import { viewOf } from '../ffi/view.js';
import { kvm_run, kvm_run_io, kvm_run_memory_fault, kvm_run_mmio } from '../uapi/kvm-run.js';

const IMMEDIATE_EXIT = kvm_run.offset.immediate_exit;
const EXIT_REASON = kvm_run.offset.exit_reason >> 2;
const MMIO_ADDRESS = kvm_run_mmio.offset.phys_addr >> 2;
const MEMORY_FAULT_GPA = kvm_run_memory_fault.offset.gpa >> 2;

/** A vCPU's `kvm_run` as this thread sees it. Reading a field costs a nanosecond or two. */
export class RunPage {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;

  /** @param address of the vCPU's mapping, of `bytes` bytes (KVM_GET_VCPU_MMAP_SIZE) */
  constructor(address: number, bytes: number) {
    const buffer = viewOf(address, bytes);
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
  }

  /** KVM_EXIT_*; stale until KVM_RUN has returned. */
  get exitReason(): number {
    return this.u32[EXIT_REASON]!;
  }

  /** Before KVM_RUN: an EFAULT that leaves this 0 carries no address. */
  clearExitReason(): void {
    this.u32[EXIT_REASON] = 0;
  }

  /** Makes the next KVM_RUN return EINTR at once; may be set by any thread. */
  set immediateExit(on: boolean) {
    this.u8[IMMEDIATE_EXIT] = on ? 1 : 0;
  }

  /** KVM_EXIT_MMIO: the guest physical address. */
  get mmioAddress(): number {
    return this.u32[MMIO_ADDRESS]! + this.u32[MMIO_ADDRESS + 1]! * 0x1_0000_0000;
  }

  get mmioLength(): number {
    return this.u32[kvm_run_mmio.offset.len >> 2]!;
  }

  get mmioIsWrite(): boolean {
    return this.u8[kvm_run_mmio.offset.is_write] !== 0;
  }

  /** KVM_EXIT_MEMORY_FAULT: the guest physical address of the page. */
  get memoryFaultAddress(): number {
    return this.u32[MEMORY_FAULT_GPA]! + this.u32[MEMORY_FAULT_GPA + 1]! * 0x1_0000_0000;
  }

  /** KVM_EXIT_IO: KVM_EXIT_IO_IN or KVM_EXIT_IO_OUT. */
  get ioDirection(): number {
    return this.u8[kvm_run_io.offset.direction]!;
  }

  /** 1, 2 or 4 bytes. */
  get ioSize(): number {
    return this.u8[kvm_run_io.offset.size]!;
  }

  get ioPort(): number {
    return this.u16[kvm_run_io.offset.port >> 1]!;
  }

  /** Elements of a string instruction; 1 otherwise. */
  get ioCount(): number {
    return this.u32[kvm_run_io.offset.count >> 2]!;
  }

  /** Byte offset of the data within this page. */
  get ioDataOffset(): number {
    return this.u32[kvm_run_io.offset.data_offset >> 2]!;
  }
}
