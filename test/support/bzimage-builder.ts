/** A bzImage for tests, field by field: nothing in it but its header. */
import {
  BOOT_FLAG_MAGIC,
  boot_params,
  LOADED_HIGH,
  SETUP_HEADER_MAGIC,
  setup_header,
  XLF_KERNEL_64,
} from '../../src/uapi/bootparam.js';

type Field = keyof typeof setup_header.offset;

const WIDTHS: Partial<Record<Field, 1 | 2 | 8>> = {
  setup_sects: 1,
  boot_flag: 2,
  version: 2,
  loadflags: 1,
  xloadflags: 2,
  pref_address: 8,
};

/** Of the protected-mode code: a multiple of 16. */
export const CODE_BYTES = 0x1000;

/** @param codeBytes how much of its code is in the file */
export function buildBzImage(
  fields: Partial<Record<Field, number>> = {},
  codeBytes: number = CODE_BYTES,
): Uint8Array {
  const all: Partial<Record<Field, number>> = {
    setup_sects: 2,
    boot_flag: BOOT_FLAG_MAGIC,
    header: SETUP_HEADER_MAGIC,
    version: 0x020f,
    loadflags: LOADED_HIGH,
    xloadflags: XLF_KERNEL_64,
    syssize: CODE_BYTES / 16,
    pref_address: 0x100_0000,
    init_size: 0x20_0000,
    cmdline_size: 2047,
    initrd_addr_max: 0x7fff_ffff,
    ...fields,
  };
  const start = ((all.setup_sects || 4) + 1) * 512;
  const file = Buffer.alloc(start + codeBytes, 0xf4);
  file.fill(0, 0, start);
  const view = new DataView(file.buffer, file.byteOffset);
  const header = boot_params.offset.hdr;
  view.setUint8(0x201, header + setup_header.size - 0x202); // where the jump leads
  for (const [field, value] of Object.entries(all) as [Field, number][]) {
    const at = header + setup_header.offset[field];
    switch (WIDTHS[field]) {
      case 1:
        view.setUint8(at, value);
        break;
      case 2:
        view.setUint16(at, value, true);
        break;
      case 8:
        view.setBigUint64(at, BigInt(value), true);
        break;
      default:
        view.setUint32(at, value, true);
    }
  }
  return file;
}
