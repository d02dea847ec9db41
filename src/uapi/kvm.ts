/**
 * include/uapi/linux/kvm.h: ioctls, capabilities and structs common to all architectures.
 * The numbers are those of x86-64. `struct kvm_run` is in kvm-run.ts, x86 state in kvm-x86.ts.
 */
import { array, struct, u8, u32, u64 } from '../ffi/layout.js';

export const KVM_API_VERSION = 12;

// ioctls of /dev/kvm
export const KVM_GET_API_VERSION = 0xae00; // _IO(KVMIO, 0x00)
export const KVM_CREATE_VM = 0xae01; // _IO(KVMIO, 0x01), returns a VM descriptor
export const KVM_CHECK_EXTENSION = 0xae03; // _IO(KVMIO, 0x03), also on a VM descriptor
export const KVM_GET_VCPU_MMAP_SIZE = 0xae04; // _IO(KVMIO, 0x04), in bytes
export const KVM_GET_SUPPORTED_CPUID = 0xc008ae05; // _IOWR(KVMIO, 0x05, struct kvm_cpuid2)

// ioctls of a VM
export const KVM_CREATE_VCPU = 0xae41; // _IO(KVMIO, 0x41), returns a vCPU descriptor
export const KVM_GET_DIRTY_LOG = 0x4010ae42; // _IOW(KVMIO, 0x42, struct kvm_dirty_log)
/** _IOW(KVMIO, 0x46, struct kvm_userspace_memory_region) */
export const KVM_SET_USER_MEMORY_REGION = 0x4020ae46;
export const KVM_SET_TSS_ADDR = 0xae47; // _IO(KVMIO, 0x47)
export const KVM_SET_IDENTITY_MAP_ADDR = 0x4008ae48; // _IOW(KVMIO, 0x48, __u64)
/** _IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2), since 6.8 */
export const KVM_SET_USER_MEMORY_REGION2 = 0x40a0ae49;
export const KVM_CREATE_IRQCHIP = 0xae60; // _IO(KVMIO, 0x60)
export const KVM_IRQ_LINE = 0x4008ae61; // _IOW(KVMIO, 0x61, struct kvm_irq_level)
export const KVM_CREATE_PIT2 = 0x4040ae77; // _IOW(KVMIO, 0x77, struct kvm_pit_config)
export const KVM_CLEAR_DIRTY_LOG = 0xc018aec0; // _IOWR(KVMIO, 0xc0, struct kvm_clear_dirty_log)
export const KVM_RESET_DIRTY_RINGS = 0xaec7; // _IO(KVMIO, 0xc7), since 5.11
/** _IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd), since 6.8 */
export const KVM_CREATE_GUEST_MEMFD = 0xc040aed4;

// ioctls of a vCPU
export const KVM_RUN = 0xae80; // _IO(KVMIO, 0x80)
export const KVM_GET_REGS = 0x8090ae81; // _IOR(KVMIO, 0x81, struct kvm_regs)
export const KVM_SET_REGS = 0x4090ae82; // _IOW(KVMIO, 0x82, struct kvm_regs)
export const KVM_GET_SREGS = 0x8138ae83; // _IOR(KVMIO, 0x83, struct kvm_sregs)
export const KVM_SET_SREGS = 0x4138ae84; // _IOW(KVMIO, 0x84, struct kvm_sregs)
export const KVM_GET_MSRS = 0xc008ae88; // _IOWR(KVMIO, 0x88, struct kvm_msrs)
export const KVM_SET_MSRS = 0x4008ae89; // _IOW(KVMIO, 0x89, struct kvm_msrs)
export const KVM_SET_SIGNAL_MASK = 0x4004ae8b; // _IOW(KVMIO, 0x8b, struct kvm_signal_mask)
export const KVM_SET_CPUID2 = 0x4008ae90; // _IOW(KVMIO, 0x90, struct kvm_cpuid2)
export const KVM_GET_MP_STATE = 0x8004ae98; // _IOR(KVMIO, 0x98, struct kvm_mp_state)
export const KVM_SET_MP_STATE = 0x4004ae99; // _IOW(KVMIO, 0x99, struct kvm_mp_state)
export const KVM_X86_SETUP_MCE = 0x4008ae9c; // _IOW(KVMIO, 0x9c, __u64)
/** _IOR(KVMIO, 0x9d, __u64), on /dev/kvm */
export const KVM_X86_GET_MCE_CAP_SUPPORTED = 0x8008ae9d;
export const KVM_X86_SET_MCE = 0x4040ae9e; // _IOW(KVMIO, 0x9e, struct kvm_x86_mce)
export const KVM_GET_VCPU_EVENTS = 0x8040ae9f; // _IOR(KVMIO, 0x9f, struct kvm_vcpu_events)
export const KVM_SET_VCPU_EVENTS = 0x4040aea0; // _IOW(KVMIO, 0xa0, struct kvm_vcpu_events)
export const KVM_SET_TSC_KHZ = 0xaea2; // _IO(KVMIO, 0xa2)
export const KVM_GET_TSC_KHZ = 0xaea3; // _IO(KVMIO, 0xa3)
export const KVM_ENABLE_CAP = 0x4068aea3; // _IOW(KVMIO, 0xa3, struct kvm_enable_cap), also on a VM
/** _IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory), since 6.11 */
export const KVM_PRE_FAULT_MEMORY = 0xc040aed5;

// Capabilities, for KVM_CHECK_EXTENSION and KVM_ENABLE_CAP
export const KVM_CAP_IRQCHIP = 0;
export const KVM_CAP_USER_MEMORY = 3;
export const KVM_CAP_SET_TSS_ADDR = 4;
export const KVM_CAP_EXT_CPUID = 7;
export const KVM_CAP_NR_VCPUS = 9; // answers the recommended number
export const KVM_CAP_NR_MEMSLOTS = 10;
export const KVM_CAP_MP_STATE = 14;
export const KVM_CAP_SYNC_MMU = 16; // changes of the host's mappings reach the guest
export const KVM_CAP_MCE = 31; // answers the number of banks
export const KVM_CAP_PIT2 = 33;
export const KVM_CAP_SET_IDENTITY_MAP_ADDR = 37;
export const KVM_CAP_INTERNAL_ERROR_DATA = 40;
export const KVM_CAP_VCPU_EVENTS = 41;
export const KVM_CAP_ENABLE_CAP = 54;
export const KVM_CAP_ASYNC_PF = 59;
export const KVM_CAP_TSC_CONTROL = 60;
export const KVM_CAP_GET_TSC_KHZ = 61;
export const KVM_CAP_MAX_VCPUS = 66;
export const KVM_CAP_TSC_DEADLINE_TIMER = 72;
export const KVM_CAP_SYNC_REGS = 74;
export const KVM_CAP_READONLY_MEM = 81;
export const KVM_CAP_ENABLE_CAP_VM = 98;
export const KVM_CAP_CHECK_EXTENSION_VM = 105;
export const KVM_CAP_MULTI_ADDRESS_SPACE = 118;
export const KVM_CAP_MAX_VCPU_ID = 128;
export const KVM_CAP_IMMEDIATE_EXIT = 136;
export const KVM_CAP_X86_DISABLE_EXITS = 143;
export const KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168; // since 5.2 (mem)
export const KVM_CAP_HALT_POLL = 182; // since 5.8 (mem)
export const KVM_CAP_ASYNC_PF_INT = 183; // since 5.8 (mem)
export const KVM_CAP_DIRTY_LOG_RING = 192; // since 5.11
export const KVM_CAP_EXIT_ON_EMULATION_FAILURE = 204; // since 5.15 (mem)
export const KVM_CAP_SYSTEM_EVENT_DATA = 215; // since 5.19 (mem)
export const KVM_CAP_DIRTY_LOG_RING_ACQ_REL = 223; // since 6.1
export const KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP = 225; // since 6.2 (mem)
export const KVM_CAP_USER_MEMORY2 = 231; // since 6.8
export const KVM_CAP_MEMORY_FAULT_INFO = 232; // since 6.8
export const KVM_CAP_MEMORY_ATTRIBUTES = 233; // since 6.8
export const KVM_CAP_GUEST_MEMFD = 234; // since 6.8
export const KVM_CAP_VM_TYPES = 235; // since 6.8
export const KVM_CAP_PRE_FAULT_MEMORY = 236; // since 6.11
export const KVM_CAP_GUEST_MEMFD_FLAGS = 244; // since 6.18
/** Of the kernel in guest-images/lab: a mask of the two flags below. */
export const KVM_CAP_MEM_EXIT = 0x4d45;

// Memslot flags
export const KVM_MEM_LOG_DIRTY_PAGES = 0x1; // 1UL << 0
export const KVM_MEM_READONLY = 0x2; // 1UL << 1
export const KVM_MEM_GUEST_MEMFD = 0x4; // 1UL << 2, since 6.8
/**
 * 1UL << 3, never merged ("Improve KVM + userfaultfd performance" v6 and v7, 2024); what the kernel in
 * guest-images/lab does.
 */
export const KVM_MEM_EXIT_ON_MISSING = 0x8;
/** 1UL << 3, never merged (KVM Userfault v1 to v3, 2025). The same bit as the proposal above. */
export const KVM_MEM_USERFAULT = 0x8;
/** 1UL << 4, of the kernel in guest-images/lab. */
export const KVM_MEM_EXIT_ON_USERFAULT = 0x10;

export const GUEST_MEMFD_FLAG_MMAP = 0x1; // 1ULL << 0, since 6.18
export const GUEST_MEMFD_FLAG_INIT_SHARED = 0x2; // 1ULL << 1, since 6.18

export const KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE = 0x1; // 1 << 0, since 5.2 (mem)
export const KVM_DIRTY_LOG_INITIALLY_SET = 0x2; // 1 << 1, since 5.7 (mem)

// kvm_dirty_gfn.flags, since 5.11
export const KVM_DIRTY_GFN_F_DIRTY = 0x1; // _BITUL(0), the kernel published the entry
export const KVM_DIRTY_GFN_F_RESET = 0x2; // _BITUL(1), userspace harvested it
export const KVM_DIRTY_GFN_F_MASK = 0x3;

// kvm_mp_state.mp_state
export const KVM_MP_STATE_RUNNABLE = 0;
export const KVM_MP_STATE_UNINITIALIZED = 1;
export const KVM_MP_STATE_INIT_RECEIVED = 2;
export const KVM_MP_STATE_HALTED = 3;
export const KVM_MP_STATE_SIPI_RECEIVED = 4;
export const KVM_MP_STATE_STOPPED = 5;

export const KVM_PIT_SPEAKER_DUMMY = 1;

export const kvm_userspace_memory_region = struct({
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
});

/** Since 6.8. */
export const kvm_userspace_memory_region2 = struct({
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
  guest_memfd_offset: u64,
  guest_memfd: u32,
  pad1: u32,
  userfault_bitmap: u64, // only with KVM_MEM_USERFAULT; mainline's pad2[0]
  pad2: array(u64, 13), // mainline: pad2[14], from userfault_bitmap on
});

export const kvm_dirty_log = struct({ slot: u32, padding1: u32, dirty_bitmap: u64 });

export const kvm_clear_dirty_log = struct({
  slot: u32,
  num_pages: u32,
  first_page: u64,
  dirty_bitmap: u64,
});

/** `len` must be 8, the kernel's sigset_t, although libc's is larger. */
export const kvm_irq_level = struct({ irq: u32, level: u32 });

export const kvm_signal_mask = struct({ len: u32, sigset: array(u8, 0) });

export const kvm_enable_cap = struct({
  cap: u32,
  flags: u32,
  args: array(u64, 4),
  pad: array(u8, 64),
});

/** Since 5.11. `slot` holds the address space in its upper 16 bits. */
export const kvm_dirty_gfn = struct({ flags: u32, slot: u32, offset: u64 });

/** Since 6.11. The kernel advances `gpa` and shrinks `size` by what it has populated. */
export const kvm_pre_fault_memory = struct({
  gpa: u64,
  size: u64,
  flags: u64,
  padding: array(u64, 5),
});

/** Since 6.8. */
export const kvm_create_guest_memfd = struct({
  size: u64,
  flags: u64,
  reserved: array(u64, 6),
});

export const kvm_mp_state = struct({ mp_state: u32 });

export const kvm_pit_config = struct({ flags: u32, pad: array(u32, 15) });
