/**
 * Where things lie in guest physical memory. What the VMM or an image puts below
 * {@link WORKLOAD_START} is resident before the guest starts (shadow paging injects a page fault
 * into the guest when its own page tables are missing); the rest of RAM is not.
 *
 * ```
 *   0x001000  flat images; of Linux: zero page or hvm_start_info, command line
 *   0x008000  GDT
 *   0x009000  TSS (3 pages)
 *   0x010000  PML4, PDPT, one page directory for each GiB
 *   0x100000  ELF images of this project
 *   0x200000  workload
 * ```
 */
export const FLAT_ENTRY = 0x1000;
export const START_INFO_ADDRESS = 0x1000;
export const COMMAND_LINE_ADDRESS = 0x3000;
export const GDT_ADDRESS = 0x8000;
export const TSS_ADDRESS = 0x9000;
export const PML4_ADDRESS = 0x10000;
/** FLAT_ENTRY and WORKLOAD_START are also in guest-images/abi.h; a test compares them. */
export const WORKLOAD_START = 0x200000;

/** Segments of ELF images lie here or above. */
export const IMAGE_START = 0x100000;

/** Page directories fit between the PML4 and the ELF images: 238 GiB. */
export const MAX_MEMORY_BYTES = 200 * 2 ** 30;
export const MIN_MEMORY_BYTES = 4 * 2 ** 20;

/** What firmware has below 1 MiB on a PC: the extended BIOS data area, video memory, the BIOS. */
export const FIRMWARE_START = 0x9fc00;
export const FIRMWARE_END = 0x100000;

/**
 * Here a PC has its interrupt controllers, flash and PCI devices, up to 4 GiB. Guest RAM is one piece
 * from 0 on, so that one with these devices cannot have more than this.
 */
export const PC_HOLE_START = 3 * 2 ** 30;
