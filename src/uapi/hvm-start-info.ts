/** The PVH boot protocol: xen/include/public/arch-x86/hvm/start_info.h, version 1. */
import { struct, u32, u64 } from '../ffi/layout.js';

export const hvm_start_info = struct({
  magic: u32,
  version: u32,
  flags: u32,
  nr_modules: u32,
  modlist_paddr: u64,
  cmdline_paddr: u64,
  rsdp_paddr: u64,
  memmap_paddr: u64,
  memmap_entries: u32,
  reserved: u32,
});

export const hvm_modlist_entry = struct({
  paddr: u64,
  size: u64,
  cmdline_paddr: u64,
  reserved: u64,
});

export const hvm_memmap_table_entry = struct({ addr: u64, size: u64, type: u32, reserved: u32 });

export const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;
/** Type of the ELF note "Xen" that holds the 32-bit entry. */
export const XEN_ELFNOTE_PHYS32_ENTRY = 18;
