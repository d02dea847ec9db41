import { UsageError } from '../ffi/errors.js';
import { formatSize } from '../memory/sizes.js';
import {
  boot_e820_entry,
  boot_params,
  E820_TYPE_RAM,
  E820_TYPE_RESERVED,
  setup_header,
} from '../uapi/bootparam.js';
import {
  hvm_memmap_table_entry,
  hvm_modlist_entry,
  hvm_start_info,
  XEN_HVM_START_MAGIC_VALUE,
} from '../uapi/hvm-start-info.js';
import {
  COMMAND_LINE_ADDRESS,
  FIRMWARE_END,
  FIRMWARE_START,
  GDT_ADDRESS,
  PC_HOLE_START,
  START_INFO_ADDRESS,
} from './guest-physical-map.js';
import type { Image, ImageSegment, LinuxKernel } from './image.js';

/** What a kernel is started with. */
export interface LinuxBoot {
  readonly memoryBytes: number;
  readonly commandLine: string;
  readonly initrd: Uint8Array | null;
  /** GPA of the ACPI root pointer, for PVH; 0 if there is none. */
  readonly rootPointer: number;
}

/** A boot loader without a number of its own. */
const LOADER_UNDEFINED = 0xff;
const PAGE = 4096;

interface MemoryRange {
  readonly address: number;
  readonly bytes: number;
  readonly type: number;
}

/** @throws UsageError for more memory than there is room for below the devices of a PC */
export function checkPcMemory(memoryBytes: number): void {
  if (memoryBytes > PC_HOLE_START) {
    throw new UsageError(
      `--memory ${formatSize(memoryBytes)} is more than a guest with a PC's devices can have here: its RAM is one piece from 0 on, and its interrupt controllers lie above ${formatSize(PC_HOLE_START)}`,
      `Ask for ${formatSize(PC_HOLE_START)} or less.`,
    );
  }
}

/**
 * What is for a Linux kernel alone would come to nothing, and nobody would be told.
 *
 * @param image what is booted, which is none
 * @throws UsageError naming the option
 */
export function checkTakesNoLinuxBoot(
  image: string,
  commandLine: string,
  initrd: string | null,
): void {
  if (commandLine !== '' || initrd !== null) {
    throw new UsageError(
      `${initrd === null ? '--cmdline' : '--initrd'} is for a Linux kernel, and ${image} is none`,
      'A bzImage is one, and an ELF file with the note by which PVH starts it.',
    );
  }
}

/** A kernel that is not told of one writes to a screen, and there is none. */
export function withConsole(commandLine: string): string {
  return /(^|\s)console=/.test(commandLine) ? commandLine : `console=ttyS0 ${commandLine}`.trim();
}

/**
 * What a Linux kernel finds in memory besides itself: its command line, the initrd, and the zero
 * page (64-bit boot protocol) or `hvm_start_info` (PVH) at {@link START_INFO_ADDRESS}.
 *
 * @throws UsageError what does not fit, or is not what the kernel takes
 */
export function buildLinuxBoot(image: Image, boot: LinuxBoot): ImageSegment[] {
  const { kernel } = image;
  if (kernel === null) {
    throw new UsageError('an image that is no Linux kernel takes no command line or initrd');
  }
  if (kernel.endAddress > boot.memoryBytes) {
    throw new UsageError(
      `the kernel needs memory up to ${formatSize(kernel.endAddress)}, and the guest has ${formatSize(boot.memoryBytes)}`,
      'Give it more --memory.',
    );
  }
  const commandLine = commandLineOf(boot.commandLine, kernel);
  if (boot.initrd?.length === 0) {
    throw new UsageError('the file of --initrd is empty');
  }
  const initrd = boot.initrd === null ? null : placeInitrd(boot.initrd, kernel, boot.memoryBytes);
  const start =
    kernel.setupHeader === null
      ? startInfo(boot, initrd)
      : zeroPage(kernel.setupHeader, boot.memoryBytes, initrd);
  return [
    segment(START_INFO_ADDRESS, start),
    segment(COMMAND_LINE_ADDRESS, commandLine),
    ...(initrd === null ? [] : [initrd]),
  ];
}

function segment(address: number, data: Uint8Array): ImageSegment {
  return { address, data, bytes: data.length };
}

function commandLineOf(text: string, kernel: LinuxKernel): Uint8Array {
  if (text.includes('\0')) {
    throw new UsageError('--cmdline has a NUL in it');
  }
  const bytes = new TextEncoder().encode(`${text}\0`);
  const most = Math.min(kernel.mostCommandLineBytes, GDT_ADDRESS - COMMAND_LINE_ADDRESS - 1);
  if (bytes.length - 1 > most) {
    throw new UsageError(
      `--cmdline has ${bytes.length - 1} bytes, console= included, and this kernel takes ${most} (cmdline_size)`,
    );
  }
  return bytes;
}

/** As high as it may be: kernels unpack themselves upwards from where they lie. */
function placeInitrd(data: Uint8Array, kernel: LinuxKernel, memoryBytes: number): ImageSegment {
  const end = Math.min(memoryBytes, kernel.highestInitrdAddress + 1);
  const address = Math.floor((end - data.length) / PAGE) * PAGE;
  if (address < kernel.endAddress) {
    throw new UsageError(
      `--initrd of ${data.length} bytes does not fit between the kernel, which needs memory up to ${formatSize(kernel.endAddress)}, and ${formatSize(end)}`,
      'Give the guest more --memory.',
    );
  }
  return segment(address, data);
}

/** Usable memory, but for what firmware would have below 1 MiB. */
function memoryMap(memoryBytes: number): MemoryRange[] {
  return [
    { address: 0, bytes: FIRMWARE_START, type: E820_TYPE_RAM },
    { address: FIRMWARE_START, bytes: FIRMWARE_END - FIRMWARE_START, type: E820_TYPE_RESERVED },
    { address: FIRMWARE_END, bytes: memoryBytes - FIRMWARE_END, type: E820_TYPE_RAM },
  ];
}

function zeroPage(
  setupHeader: Uint8Array,
  memoryBytes: number,
  initrd: ImageSegment | null,
): Uint8Array {
  const page = new Uint8Array(boot_params.size);
  const view = new DataView(page.buffer);
  const { hdr, e820_entries, e820_table } = boot_params.offset;
  page.set(setupHeader, hdr);
  view.setUint8(hdr + setup_header.offset.type_of_loader, LOADER_UNDEFINED);
  view.setUint32(hdr + setup_header.offset.cmd_line_ptr, COMMAND_LINE_ADDRESS, true);
  view.setUint32(hdr + setup_header.offset.ramdisk_image, initrd?.address ?? 0, true);
  view.setUint32(hdr + setup_header.offset.ramdisk_size, initrd?.bytes ?? 0, true);
  const ranges = memoryMap(memoryBytes);
  view.setUint8(e820_entries, ranges.length);
  ranges.forEach(({ address, bytes, type }, index) => {
    const at = e820_table + index * boot_e820_entry.size;
    view.setBigUint64(at + boot_e820_entry.offset.addr, BigInt(address), true);
    view.setBigUint64(at + boot_e820_entry.offset.size, BigInt(bytes), true);
    view.setUint32(at + boot_e820_entry.offset.type, type, true);
  });
  return page;
}

/** `hvm_start_info`, behind it the list of modules and the memory map. */
function startInfo(
  { memoryBytes, rootPointer }: LinuxBoot,
  initrd: ImageSegment | null,
): Uint8Array {
  const ranges = memoryMap(memoryBytes);
  const modules = hvm_start_info.size;
  const map = modules + hvm_modlist_entry.size;
  const page = new Uint8Array(map + ranges.length * hvm_memmap_table_entry.size);
  const view = new DataView(page.buffer);
  const u64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  const { offset } = hvm_start_info;
  view.setUint32(offset.magic, XEN_HVM_START_MAGIC_VALUE, true);
  view.setUint32(offset.version, 1, true);
  view.setUint32(offset.nr_modules, initrd === null ? 0 : 1, true);
  u64(offset.modlist_paddr, initrd === null ? 0 : START_INFO_ADDRESS + modules);
  u64(offset.cmdline_paddr, COMMAND_LINE_ADDRESS);
  u64(offset.rsdp_paddr, rootPointer);
  u64(offset.memmap_paddr, START_INFO_ADDRESS + map);
  view.setUint32(offset.memmap_entries, ranges.length, true);
  if (initrd !== null) {
    u64(modules + hvm_modlist_entry.offset.paddr, initrd.address);
    u64(modules + hvm_modlist_entry.offset.size, initrd.bytes);
  }
  ranges.forEach(({ address, bytes, type }, index) => {
    const at = map + index * hvm_memmap_table_entry.size;
    u64(at + hvm_memmap_table_entry.offset.addr, address);
    u64(at + hvm_memmap_table_entry.offset.size, bytes);
    view.setUint32(at + hvm_memmap_table_entry.offset.type, type, true);
  });
  return page;
}
