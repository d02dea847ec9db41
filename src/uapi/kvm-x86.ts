/**
 * arch/x86/include/uapi/asm/kvm.h and processor-flags.h: vCPU state of x86, and the machine-check
 * numbers of arch/x86/include/asm/mce.h.
 */
import { array, struct, u8, u16, u32, u64 } from '../ffi/layout.js';

// Pages of the vCPU mapping, after struct kvm_run
export const KVM_PIO_PAGE_OFFSET = 1;
export const KVM_COALESCED_MMIO_PAGE_OFFSET = 2;
export const KVM_DIRTY_LOG_PAGE_OFFSET = 64; // the dirty ring, since 5.11

export const DF_VECTOR = 8;
export const GP_VECTOR = 13;
export const PF_VECTOR = 14;
export const MC_VECTOR = 18;

export const kvm_regs = struct({
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});

export const kvm_segment = struct({
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

export const kvm_dtable = struct({ base: u64, limit: u16, padding: array(u16, 3) });

export const kvm_sregs = struct({
  cs: kvm_segment,
  ds: kvm_segment,
  es: kvm_segment,
  fs: kvm_segment,
  gs: kvm_segment,
  ss: kvm_segment,
  tr: kvm_segment,
  ldt: kvm_segment,
  gdt: kvm_dtable,
  idt: kvm_dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
  interrupt_bitmap: array(u64, 4), // (KVM_NR_INTERRUPTS + 63) / 64
});

export const kvm_cpuid_entry2 = struct({
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});

/** `entries` is an array of kvm_cpuid_entry2. */
export const kvm_cpuid2 = struct({ nent: u32, padding: u32, entries: array(kvm_cpuid_entry2, 0) });

export const kvm_msr_entry = struct({ index: u32, reserved: u32, data: u64 });

/** `entries` is an array of kvm_msr_entry. */
export const kvm_msrs = struct({ nmsrs: u32, pad: u32, entries: array(kvm_msr_entry, 0) });

export const kvm_x86_mce = struct({
  status: u64,
  addr: u64,
  misc: u64,
  mcg_status: u64,
  bank: u8,
  pad1: array(u8, 7),
  pad2: array(u64, 3),
});

export const kvm_vcpu_events = struct({
  exception: struct({
    injected: u8,
    nr: u8,
    has_error_code: u8,
    pending: u8,
    error_code: u32,
  }),
  interrupt: struct({ injected: u8, nr: u8, soft: u8, shadow: u8 }),
  nmi: struct({ injected: u8, pending: u8, masked: u8, pad: u8 }),
  sipi_vector: u32,
  flags: u32,
  smi: struct({ smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }),
  triple_fault: struct({ pending: u8 }), // since 6.1 (mem), from the first byte of reserved
  reserved: array(u8, 26),
  exception_has_payload: u8,
  exception_payload: u64,
});

/** kvm_run.s.regs, with KVM_CAP_SYNC_REGS. */
export const kvm_sync_regs = struct({
  regs: kvm_regs,
  sregs: kvm_sregs,
  events: kvm_vcpu_events,
});

export const KVM_SYNC_X86_REGS = 0x1; // 1UL << 0
export const KVM_SYNC_X86_SREGS = 0x2; // 1UL << 1
export const KVM_SYNC_X86_EVENTS = 0x4; // 1UL << 2

export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 0x1; // 1 << 0, the header's own spelling

export const X86_CR0_PE = 0x1; // protected mode
export const X86_CR0_MP = 0x2;
export const X86_CR0_EM = 0x4;
export const X86_CR0_TS = 0x8;
export const X86_CR0_ET = 0x10;
export const X86_CR0_NE = 0x20;
export const X86_CR0_WP = 0x10000;
export const X86_CR0_AM = 0x40000;
export const X86_CR0_PG = 0x80000000;

export const X86_CR4_TSD = 0x4; // forbids RDTSC at CPL3
export const X86_CR4_PSE = 0x10;
export const X86_CR4_PAE = 0x20;
export const X86_CR4_MCE = 0x40; // without it a machine check shuts the guest down
export const X86_CR4_PGE = 0x80;
export const X86_CR4_OSFXSR = 0x200;
export const X86_CR4_OSXMMEXCPT = 0x400;
export const X86_CR4_LA57 = 0x1000; // page tables of five levels
export const X86_CR4_FSGSBASE = 0x10000;
export const X86_CR4_OSXSAVE = 0x40000;

export const X86_EFLAGS_CF = 0x1;
export const X86_EFLAGS_FIXED = 0x2; // bit 1 is always set
export const X86_EFLAGS_ZF = 0x40;
export const X86_EFLAGS_TF = 0x100;
export const X86_EFLAGS_IF = 0x200;
export const X86_EFLAGS_DF = 0x400;
export const X86_EFLAGS_IOPL = 0x3000; // both bits: port I/O allowed at CPL3
export const X86_EFLAGS_AC = 0x40000;

// arch/x86/include/asm/msr-index.h
export const MSR_EFER = 0xc0000080;
export const EFER_SCE = 0x1;
export const EFER_LME = 0x100;
export const EFER_LMA = 0x400;
export const EFER_NX = 0x800;
export const MSR_IA32_TSC = 0x10;
export const MSR_IA32_APICBASE = 0x1b;
export const MSR_IA32_MCG_CAP = 0x179;
export const MSR_IA32_MCG_STATUS = 0x17a;
export const MSR_IA32_MCG_CTL = 0x17b;
export const MSR_IA32_MC0_CTL = 0x400;
export const MSR_IA32_MC0_STATUS = 0x401;
export const MSR_IA32_MC0_ADDR = 0x402;
export const MSR_IA32_MC0_MISC = 0x403;

// arch/x86/include/asm/mce.h
export const MCG_BANKCNT_MASK = 0xff;
export const MCG_CTL_P = 0x100; // BIT_ULL(8)
export const MCG_SER_P = 0x1000000; // BIT_ULL(24), software error recovery
export const MCG_STATUS_RIPV = 0x1; // BIT_ULL(0)
export const MCG_STATUS_EIPV = 0x2; // BIT_ULL(1)
export const MCG_STATUS_MCIP = 0x4; // BIT_ULL(2)
export const MCM_ADDR_PHYS = 2; // the address in MCi_ADDR is physical

// MCi_STATUS. BigInt: these bits together with an error code do not fit in 53 bits.
export const MCI_STATUS_VAL = 0x8000000000000000n; // BIT_ULL(63)
export const MCI_STATUS_UC = 0x2000000000000000n; // BIT_ULL(61)
export const MCI_STATUS_EN = 0x1000000000000000n; // BIT_ULL(60)
export const MCI_STATUS_MISCV = 0x0800000000000000n; // BIT_ULL(59)
export const MCI_STATUS_ADDRV = 0x0400000000000000n; // BIT_ULL(58)
export const MCI_STATUS_PCC = 0x0200000000000000n; // BIT_ULL(57)
export const MCI_STATUS_S = 0x0100000000000000n; // BIT_ULL(56), Intel
export const MCI_STATUS_AR = 0x0080000000000000n; // BIT_ULL(55), Intel
export const MCI_STATUS_POISON = 0x0000080000000000n; // BIT_ULL(43), AMD
