/** include/uapi/linux/perf_event.h, as far as counting and tracing need it. */
import { array, s32, struct, u8, u16, u32, u64 } from '../ffi/layout.js';

// perf_event_attr.type
export const PERF_TYPE_HARDWARE = 0;
export const PERF_TYPE_SOFTWARE = 1;
export const PERF_TYPE_TRACEPOINT = 2; // config is the id from tracefs
export const PERF_TYPE_HW_CACHE = 3;
export const PERF_TYPE_RAW = 4;
export const PERF_TYPE_BREAKPOINT = 5;

// perf_event_attr.config for PERF_TYPE_HARDWARE
export const PERF_COUNT_HW_CPU_CYCLES = 0;
export const PERF_COUNT_HW_INSTRUCTIONS = 1;

// perf_event_attr.config for PERF_TYPE_SOFTWARE
export const PERF_COUNT_SW_CPU_CLOCK = 0;
export const PERF_COUNT_SW_TASK_CLOCK = 1;
export const PERF_COUNT_SW_PAGE_FAULTS = 2;
export const PERF_COUNT_SW_CONTEXT_SWITCHES = 3;
export const PERF_COUNT_SW_CPU_MIGRATIONS = 4;
export const PERF_COUNT_SW_PAGE_FAULTS_MIN = 5;
export const PERF_COUNT_SW_PAGE_FAULTS_MAJ = 6;
export const PERF_COUNT_SW_ALIGNMENT_FAULTS = 7;
export const PERF_COUNT_SW_EMULATION_FAULTS = 8;
export const PERF_COUNT_SW_DUMMY = 9;
export const PERF_COUNT_SW_BPF_OUTPUT = 10;
export const PERF_COUNT_SW_CGROUP_SWITCHES = 11; // since 5.13 (mem)

// perf_event_attr.sample_type: what a PERF_RECORD_SAMPLE holds, in this order
export const PERF_SAMPLE_TID = 0x2; // 1U << 1: u32 pid, u32 tid
export const PERF_SAMPLE_TIME = 0x4; // 1U << 2: u64 nanoseconds
export const PERF_SAMPLE_CALLCHAIN = 0x20; // 1U << 5: u64 frames, then as many addresses
export const PERF_SAMPLE_RAW = 0x400; // 1U << 10: u32 size, then the tracepoint's own fields

// perf_event_header.type
export const PERF_RECORD_LOST = 2; // u64 id, u64 lost
export const PERF_RECORD_SAMPLE = 9;
export const PERF_RECORD_LOST_SAMPLES = 13; // u64 lost

// perf_event_attr.read_format
export const PERF_FORMAT_TOTAL_TIME_ENABLED = 0x1; // 1U << 0
export const PERF_FORMAT_TOTAL_TIME_RUNNING = 0x2; // 1U << 1
export const PERF_FORMAT_ID = 0x4; // 1U << 2
export const PERF_FORMAT_GROUP = 0x8; // 1U << 3
export const PERF_FORMAT_LOST = 0x10; // 1U << 4, since 6.0 (mem)

export const PERF_EVENT_IOC_ENABLE = 0x2400; // _IO('$', 0)
export const PERF_EVENT_IOC_DISABLE = 0x2401; // _IO('$', 1)
export const PERF_EVENT_IOC_REFRESH = 0x2402; // _IO('$', 2)
export const PERF_EVENT_IOC_RESET = 0x2403; // _IO('$', 3)
export const PERF_EVENT_IOC_PERIOD = 0x40082404; // _IOW('$', 4, __u64)
export const PERF_EVENT_IOC_SET_OUTPUT = 0x2405; // _IO('$', 5)
export const PERF_EVENT_IOC_SET_FILTER = 0x40082406; // _IOW('$', 6, char *)
export const PERF_EVENT_IOC_ID = 0x80082407; // _IOR('$', 7, __u64 *)
export const PERF_IOC_FLAG_GROUP = 0x1; // 1U << 0

// Flags of perf_event_open(2)
export const PERF_FLAG_FD_NO_GROUP = 0x1; // 1UL << 0
export const PERF_FLAG_FD_OUTPUT = 0x2; // 1UL << 1
export const PERF_FLAG_PID_CGROUP = 0x4; // 1UL << 2
export const PERF_FLAG_FD_CLOEXEC = 0x8; // 1UL << 3

export const PERF_ATTR_SIZE_VER0 = 64;

/** PERF_ATTR_SIZE_VER7. Older kernels accept it as long as what they do not know is zero. */
export const perf_event_attr = struct({
  type: u32,
  size: u32,
  config: u64,
  sample_period: u64, // or sample_freq
  sample_type: u64,
  read_format: u64,
  flags: u64, // unnamed bitfields in the header: perf_event_attr_bit
  wakeup_events: u32,
  bp_type: u32,
  config1: u64,
  config2: u64,
  branch_sample_type: u64,
  sample_regs_user: u64,
  sample_stack_user: u32,
  clockid: s32,
  sample_regs_intr: u64,
  aux_watermark: u32,
  sample_max_stack: u16,
  __reserved_2: u16,
  aux_sample_size: u32,
  __reserved_3: u32,
  sig_data: u64,
});

/** Bit positions in perf_event_attr.flags. */
export const perf_event_attr_bit = {
  disabled: 0,
  inherit: 1,
  pinned: 2,
  exclusive: 3,
  exclude_user: 4,
  exclude_kernel: 5,
  exclude_hv: 6,
  exclude_idle: 7,
  inherit_stat: 11,
  enable_on_exec: 12,
  exclude_host: 19,
  exclude_guest: 20,
  exclude_callchain_user: 22,
  use_clockid: 25,
} as const;

/** The first page of a mapped ring; its data begins `data_offset` bytes behind it. */
export const perf_event_mmap_page = struct({
  version: u32,
  compat_version: u32,
  lock: u32,
  index: u32,
  offset: u64,
  time_enabled: u64,
  time_running: u64,
  capabilities: u64,
  pmc_width: u16,
  time_shift: u16,
  time_mult: u32,
  time_offset: u64,
  time_zero: u64,
  size: u32,
  __reserved_1: u32,
  time_cycles: u64, // since 5.12 (mem)
  time_mask: u64, // since 5.12 (mem)
  __reserved: array(u8, 116 * 8),
  data_head: u64, // where the kernel writes next, ever growing
  data_tail: u64, // up to where we have read
  data_offset: u64, // since 4.1
  data_size: u64, // since 4.1
  aux_head: u64,
  aux_tail: u64,
  aux_offset: u64,
  aux_size: u64,
});

/** In front of every record of a ring, at a multiple of 8. */
export const perf_event_header = struct({
  type: u32,
  misc: u16,
  size: u16, // of the record, this header included
});
