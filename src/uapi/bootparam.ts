/** The x86 boot protocol: asm/bootparam.h and Documentation/arch/x86/boot.rst. */
import { array, packed, u8, u16, u32, u64 } from '../ffi/layout.js';

/** From offset 0x1f1 of a bzImage, and of the zero page (boot_params). */
export const setup_header = packed({
  setup_sects: u8,
  root_flags: u16,
  syssize: u32,
  ram_size: u16,
  vid_mode: u16,
  root_dev: u16,
  boot_flag: u16,
  jump: u16,
  header: u32,
  version: u16,
  realmode_swtch: u32,
  start_sys_seg: u16,
  kernel_version: u16,
  type_of_loader: u8,
  loadflags: u8,
  setup_move_size: u16,
  code32_start: u32,
  ramdisk_image: u32,
  ramdisk_size: u32,
  bootsect_kludge: u32,
  heap_end_ptr: u16,
  ext_loader_ver: u8,
  ext_loader_type: u8,
  cmd_line_ptr: u32,
  initrd_addr_max: u32,
  kernel_alignment: u32,
  relocatable_kernel: u8,
  min_alignment: u8,
  xloadflags: u16,
  cmdline_size: u32,
  hardware_subarch: u32,
  hardware_subarch_data: u64,
  payload_offset: u32,
  payload_length: u32,
  setup_data: u64,
  pref_address: u64,
  init_size: u32,
  handover_offset: u32,
  kernel_info_offset: u32,
});

export const boot_e820_entry = packed({ addr: u64, size: u64, type: u32 });

/** As far as it is used here: the zero page. */
export const boot_params = packed({
  screen_info: array(u8, 0xc0),
  ext_ramdisk_image: u32,
  ext_ramdisk_size: u32,
  ext_cmd_line_ptr: u32,
  _pad4: array(u8, 112),
  cc_blob_address: u32,
  edid_info: array(u8, 0x80),
  efi_info: array(u8, 0x20),
  alt_mem_k: u32,
  scratch: u32,
  e820_entries: u8,
  eddbuf_entries: u8,
  edd_mbr_sig_buf_entries: u8,
  kbd_status: u8,
  secure_boot: u8,
  _pad5: array(u8, 2),
  sentinel: u8,
  _pad6: u8,
  hdr: setup_header,
  _pad7: array(u8, 0x290 - 0x1f1 - setup_header.size),
  edd_mbr_sig_buffer: array(u32, 16),
  e820_table: array(boot_e820_entry, 128),
  _pad8: array(u8, 48),
  eddbuf: array(u8, 0xeec - 0xd00),
  _pad9: array(u8, 276),
});

/** "HdrS" */
export const SETUP_HEADER_MAGIC = 0x53726448;
/** setup_header.boot_flag */
export const BOOT_FLAG_MAGIC = 0xaa55;

// setup_header.loadflags
export const LOADED_HIGH = 1 << 0;
export const CAN_USE_HEAP = 1 << 7;

// setup_header.xloadflags
export const XLF_KERNEL_64 = 1 << 0;
export const XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1;

// boot_e820_entry.type (arch/x86/include/asm/e820/types.h)
export const E820_TYPE_RAM = 1;
export const E820_TYPE_RESERVED = 2;
export const E820_TYPE_ACPI = 3;
