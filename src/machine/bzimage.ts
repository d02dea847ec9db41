import {
  BOOT_FLAG_MAGIC,
  boot_params,
  LOADED_HIGH,
  SETUP_HEADER_MAGIC,
  setup_header,
  XLF_KERNEL_64,
} from '../uapi/bootparam.js';
import { BinaryReader } from './binary-reader.js';
import { IMAGE_START } from './guest-physical-map.js';
import type { Image } from './image.js';

/** Where the header stands in the file, and where it goes in the zero page. */
const HEADER_AT = boot_params.offset.hdr;
/** The two bytes of the jump at 0x200 tell where the header ends. */
const JUMP_TARGET = 0x202;
const SECTOR_BYTES = 512;
/** An old kernel that says 0 means this. */
const DEFAULT_SETUP_SECTORS = 4;
/** From which on a kernel says whether it has the 64-bit entry point (Linux 3.8). */
const PROTOCOL_2_12 = 0x020c;
/** The 64-bit entry point, from where the kernel is loaded. */
const ENTRY_64 = 0x200;

const { offset } = setup_header;
const at = (field: keyof typeof offset): number => HEADER_AT + offset[field];

/** Behind `init_size`, which a header of protocol 2.12 has. */
const LEAST_HEADER_END = at('handover_offset');
/** What follows it in the zero page is not the header's. */
const MOST_HEADER_END = boot_params.offset.edd_mbr_sig_buffer;

export function isBzImage(file: Uint8Array): boolean {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  return (
    file.length >= at('header') + 4 && view.getUint32(at('header'), true) === SETUP_HEADER_MAGIC
  );
}

/**
 * A Linux kernel by the 64-bit boot protocol (Documentation/arch/x86/boot.rst). The file is
 * untrusted: every field is checked before it is used.
 *
 * @throws UsageError naming the field that is wrong
 */
export function parseBzImage(file: Uint8Array, path: string): Image {
  const reader = new BinaryReader(file, path, 'bzImage');
  reader.expect(reader.u16(at('boot_flag'), 'boot_flag'), BOOT_FLAG_MAGIC, 'boot_flag');
  const version = reader.u16(at('version'), 'version');
  if (version < PROTOCOL_2_12) {
    reader.fail(
      `version is ${version >> 8}.${version & 0xff}, and the 64-bit boot protocol begins with 2.12`,
    );
  }
  if ((reader.u16(at('xloadflags'), 'xloadflags') & XLF_KERNEL_64) === 0) {
    reader.fail('xloadflags has no XLF_KERNEL_64: it is not a 64-bit kernel');
  }
  if ((reader.u8(at('loadflags'), 'loadflags') & LOADED_HIGH) === 0) {
    reader.fail('loadflags has no LOADED_HIGH: it wants to be loaded below 1 MiB');
  }
  const sectors = reader.u8(at('setup_sects'), 'setup_sects') || DEFAULT_SETUP_SECTORS;
  const start = (sectors + 1) * SECTOR_BYTES;
  const codeBytes = reader.u32(at('syssize'), 'syssize') * 16;
  if (codeBytes <= ENTRY_64) {
    reader.fail(`syssize is ${codeBytes / 16}, which is no kernel`);
  }
  // Its last 16 bytes may be cut short; a signature may follow.
  const code = reader.slice(start, Math.min(codeBytes, reader.bytes - start), 'setup_sects');
  if (code.length <= codeBytes - 16) {
    reader.fail(`syssize says ${codeBytes} bytes, and ${code.length} are left of the file`);
  }
  const address = reader.u64(at('pref_address'), 'pref_address');
  if (address < IMAGE_START) {
    reader.fail(
      `pref_address (0x${address.toString(16)}) lies below 0x${IMAGE_START.toString(16)}, where the boot tables are`,
    );
  }
  const initBytes = reader.u32(at('init_size'), 'init_size');
  if (!Number.isSafeInteger(address + initBytes)) {
    reader.fail(`pref_address (0x${address.toString(16)}) is out of range`);
  }
  if (address % 4096 !== 0) {
    reader.fail(`pref_address (0x${address.toString(16)}) is not the start of a page`);
  }
  if (initBytes < code.length) {
    reader.fail(`init_size (${initBytes}) is less than the kernel itself (${code.length})`);
  }
  const headerEnd = JUMP_TARGET + reader.u8(JUMP_TARGET - 1, 'jump');
  if (headerEnd < LEAST_HEADER_END || headerEnd > MOST_HEADER_END) {
    reader.fail(
      `jump says that the header ends at 0x${headerEnd.toString(16)}, and it ends from 0x${LEAST_HEADER_END.toString(16)} to 0x${MOST_HEADER_END.toString(16)}`,
    );
  }
  return {
    mode: 'linux',
    entry: address + ENTRY_64,
    segments: [{ address, data: code, bytes: code.length }],
    note: null,
    kernel: {
      setupHeader: reader.slice(HEADER_AT, headerEnd - HEADER_AT, 'jump'),
      endAddress: address + initBytes,
      mostCommandLineBytes: reader.u32(at('cmdline_size'), 'cmdline_size'),
      highestInitrdAddress: reader.u32(at('initrd_addr_max'), 'initrd_addr_max'),
    },
  };
}
