/**
 * struct kvm_run of include/uapi/linux/kvm.h, the memory shared with a vCPU. Each member of its exit
 * union is a layout of its own, whose offsets count from the start of struct kvm_run.
 */
import { array, struct, u8, u16, u32, u64, union } from '../ffi/layout.js';

// kvm_run.exit_reason
export const KVM_EXIT_UNKNOWN = 0; // also what stays there when KVM_RUN fails without annotation
export const KVM_EXIT_EXCEPTION = 1;
export const KVM_EXIT_IO = 2;
export const KVM_EXIT_HYPERCALL = 3;
export const KVM_EXIT_DEBUG = 4;
export const KVM_EXIT_HLT = 5;
export const KVM_EXIT_MMIO = 6;
export const KVM_EXIT_IRQ_WINDOW_OPEN = 7;
export const KVM_EXIT_SHUTDOWN = 8;
export const KVM_EXIT_FAIL_ENTRY = 9;
export const KVM_EXIT_INTR = 10;
export const KVM_EXIT_SET_TPR = 11;
export const KVM_EXIT_TPR_ACCESS = 12;
export const KVM_EXIT_NMI = 16;
export const KVM_EXIT_INTERNAL_ERROR = 17;
export const KVM_EXIT_SYSTEM_EVENT = 24;
export const KVM_EXIT_IOAPIC_EOI = 26;
export const KVM_EXIT_HYPERV = 27;
export const KVM_EXIT_X86_RDMSR = 29; // since 5.10 (mem)
export const KVM_EXIT_X86_WRMSR = 30; // since 5.10 (mem)
export const KVM_EXIT_DIRTY_RING_FULL = 31; // since 5.11
export const KVM_EXIT_X86_BUS_LOCK = 33; // since 5.12 (mem)
export const KVM_EXIT_NOTIFY = 37; // since 6.0 (mem)
export const KVM_EXIT_MEMORY_FAULT = 39; // since 6.8

export const KVM_EXIT_IO_IN = 0;
export const KVM_EXIT_IO_OUT = 1;

// kvm_run.internal.suberror
export const KVM_INTERNAL_ERROR_EMULATION = 1;
export const KVM_INTERNAL_ERROR_SIMUL_EX = 2;
export const KVM_INTERNAL_ERROR_DELIVERY_EV = 3;
export const KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4;
export const KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES = 0x1; // 1ULL << 0, since 5.14 (mem)

// kvm_run.system_event.type
export const KVM_SYSTEM_EVENT_SHUTDOWN = 1;
export const KVM_SYSTEM_EVENT_RESET = 2;
export const KVM_SYSTEM_EVENT_CRASH = 3;

// kvm_run.memory_fault.flags
export const KVM_MEMORY_EXIT_FLAG_PRIVATE = 0x8; // 1ULL << 3, since 6.8
/** 1ULL << 4, never merged (KVM Userfault v1 to v3, 2025). */
export const KVM_MEMORY_EXIT_FLAG_USERFAULT = 0x10;

export const SYNC_REGS_SIZE_BYTES = 2048;

const header = struct({
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: array(u8, 6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
});

export const kvm_run = struct({
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: array(u8, 6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
  exit: union(u64, array(u8, 256)), // anonymous in the header
  kvm_valid_regs: u64,
  kvm_dirty_regs: u64,
  s: union(u64, array(u8, 2048)), // kvm_sync_regs
});

/** KVM_EXIT_UNKNOWN */
export const kvm_run_hw = struct({ header, hardware_exit_reason: u64 });

/** KVM_EXIT_FAIL_ENTRY */
export const kvm_run_fail_entry = struct({
  header,
  hardware_entry_failure_reason: u64,
  cpu: u32, // since 5.8 (mem)
});

/** KVM_EXIT_IO. `data_offset` counts from the start of struct kvm_run. */
export const kvm_run_io = struct({
  header,
  direction: u8,
  size: u8,
  port: u16,
  count: u32,
  data_offset: u64,
});

/** KVM_EXIT_MMIO */
export const kvm_run_mmio = struct({
  header,
  phys_addr: u64,
  data: array(u8, 8),
  len: u32,
  is_write: u8,
});

/** KVM_EXIT_INTERNAL_ERROR */
export const kvm_run_internal = struct({ header, suberror: u32, ndata: u32, data: array(u64, 16) });

/** KVM_EXIT_INTERNAL_ERROR with KVM_INTERNAL_ERROR_EMULATION, since 5.14 (mem) */
export const kvm_run_emulation_failure = struct({
  header,
  suberror: u32,
  ndata: u32,
  flags: u64,
  insn_size: u8,
  insn_bytes: array(u8, 15),
});

/** KVM_EXIT_SYSTEM_EVENT. Before 5.19 (mem) `ndata` was padding and `data` one word of flags. */
export const kvm_run_system_event = struct({
  header,
  type: u32,
  ndata: u32,
  data: array(u64, 16),
});

/** KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR, since 5.10 (mem) */
export const kvm_run_msr = struct({
  header,
  error: u8,
  pad: array(u8, 7),
  reason: u32,
  index: u32,
  data: u64,
});

/** KVM_EXIT_MEMORY_FAULT, since 6.8. It accompanies EFAULT or EHWPOISON, not a return of 0. */
export const kvm_run_memory_fault = struct({ header, flags: u64, gpa: u64, size: u64 });
