import t from 'tap';
import { parseBzImage } from '../../src/machine/bzimage.js';
import { COMMAND_LINE_ADDRESS, START_INFO_ADDRESS } from '../../src/machine/guest-physical-map.js';
import type { Image, ImageSegment } from '../../src/machine/image.js';
import { buildLinuxBoot, checkPcMemory, type LinuxBoot } from '../../src/machine/linux-boot.js';
import { boot_e820_entry, boot_params, setup_header } from '../../src/uapi/bootparam.js';
import {
  hvm_memmap_table_entry,
  hvm_modlist_entry,
  hvm_start_info,
  XEN_HVM_START_MAGIC_VALUE,
} from '../../src/uapi/hvm-start-info.js';
import { buildBzImage } from '../support/bzimage-builder.js';

const MIB = 2 ** 20;
const bzImage = parseBzImage(buildBzImage(), 'vmlinuz');
const pvh: Image = {
  ...bzImage,
  mode: 'pvh',
  kernel: { ...bzImage.kernel!, setupHeader: null, highestInitrdAddress: 0xffff_ffff },
};
const initrd = new Uint8Array(5000).fill(7);
const plain: LinuxBoot = { memoryBytes: 64 * MIB, commandLine: 'quiet', initrd, rootPointer: 0 };

function at(segments: readonly ImageSegment[], address: number): DataView {
  const { data } = segments.find((segment) => segment.address === address)!;
  return new DataView(data.buffer, data.byteOffset, data.length);
}

const RANGES = [
  [0, 0x9fc00, 1],
  [0x9fc00, 0x60400, 2],
  [MIB, 63 * MIB, 1],
];

t.test('the zero page of a bzImage', async (t) => {
  const segments = buildLinuxBoot(bzImage, plain);
  const view = at(segments, START_INFO_ADDRESS);
  const { hdr, e820_entries, e820_table } = boot_params.offset;
  const field = (name: keyof typeof setup_header.offset): number =>
    view.getUint32(hdr + setup_header.offset[name], true);
  t.equal(view.byteLength, 4096);
  t.equal(field('header'), 0x53726448, 'the header of the file is in it');
  t.equal(field('cmd_line_ptr'), COMMAND_LINE_ADDRESS);
  t.equal(field('ramdisk_size'), 5000);
  t.equal(field('ramdisk_image') % 4096, 0);
  t.strictSame(
    new Uint8Array(at(segments, field('ramdisk_image')).buffer),
    initrd,
    'the initrd lies where it says',
  );
  t.ok(field('ramdisk_image') + 5000 <= 64 * MIB);
  t.equal(view.getUint8(hdr + setup_header.offset.type_of_loader), 0xff);
  t.equal(view.getUint8(boot_params.offset.sentinel), 0);
  const ranges = Array.from({ length: view.getUint8(e820_entries) }, (_, index) => {
    const entry = e820_table + index * boot_e820_entry.size;
    return [
      Number(view.getBigUint64(entry, true)),
      Number(view.getBigUint64(entry + 8, true)),
      view.getUint32(entry + 16, true),
    ];
  });
  t.strictSame(ranges, RANGES);
  const text = at(segments, COMMAND_LINE_ADDRESS);
  t.equal(Buffer.from(text.buffer).toString('latin1'), 'quiet\0');
});

t.test('hvm_start_info of PVH', async (t) => {
  const segments = buildLinuxBoot(pvh, { ...plain, rootPointer: 0xe0000 });
  const view = at(segments, START_INFO_ADDRESS);
  const u64 = (offset: number): number => Number(view.getBigUint64(offset, true));
  const { offset } = hvm_start_info;
  t.equal(view.getUint32(offset.magic, true), XEN_HVM_START_MAGIC_VALUE);
  t.equal(view.getUint32(offset.version, true), 1);
  t.equal(u64(offset.cmdline_paddr), COMMAND_LINE_ADDRESS);
  t.equal(u64(offset.rsdp_paddr), 0xe0000);
  t.equal(view.getUint32(offset.nr_modules, true), 1);
  const module = u64(offset.modlist_paddr) - START_INFO_ADDRESS;
  const initrdAt = u64(module + hvm_modlist_entry.offset.paddr);
  t.equal(u64(module + hvm_modlist_entry.offset.size), 5000);
  t.strictSame(new Uint8Array(at(segments, initrdAt).buffer), initrd);
  const map = u64(offset.memmap_paddr) - START_INFO_ADDRESS;
  const ranges = Array.from({ length: view.getUint32(offset.memmap_entries, true) }, (_, index) => {
    const entry = map + index * hvm_memmap_table_entry.size;
    return [u64(entry), u64(entry + 8), view.getUint32(entry + 16, true)];
  });
  t.strictSame(ranges, RANGES);
});

t.test('without an initrd', async (t) => {
  for (const image of [bzImage, pvh]) {
    const segments = buildLinuxBoot(image, { ...plain, initrd: null });
    t.equal(segments.length, 2);
  }
  const view = at(buildLinuxBoot(pvh, { ...plain, initrd: null }), START_INFO_ADDRESS);
  t.equal(view.getUint32(hvm_start_info.offset.nr_modules, true), 0);
});

t.test('what does not fit is refused', async (t) => {
  const refused = (image: Image, boot: Partial<LinuxBoot>, message: RegExp): void => {
    t.throws(() => buildLinuxBoot(image, { ...plain, ...boot }), { name: 'UsageError', message });
  };
  refused({ ...bzImage, kernel: null }, {}, /no Linux kernel/);
  refused(bzImage, { memoryBytes: 16 * MIB }, /needs memory up to 18M, and the guest has 16M/);
  refused(
    bzImage,
    { commandLine: 'x'.repeat(2048) },
    /2048 bytes, console= included, and this kernel takes 2047 \(cmdline_size\)/,
  );
  refused(bzImage, { commandLine: 'ä'.repeat(1024) }, /2048 bytes/);
  const talkative = {
    ...bzImage,
    kernel: { ...bzImage.kernel!, mostCommandLineBytes: 2 ** 32 - 1 },
  };
  refused(
    talkative,
    { commandLine: 'x'.repeat(20480) },
    /20480 bytes, console= included, and this kernel takes 20479 \(cmdline_size\)/,
  );
  refused(bzImage, { commandLine: 'a\0b' }, /NUL/);
  refused(bzImage, { initrd: new Uint8Array(47 * MIB) }, /--initrd of .* does not fit/);
  const low = { ...bzImage, kernel: { ...bzImage.kernel!, highestInitrdAddress: 20 * MIB - 1 } };
  refused(low, { initrd: new Uint8Array(3 * MIB) }, /and 20M/);
  t.equal(
    buildLinuxBoot(low, plain).at(-1)!.address,
    20 * MIB - 8192,
    'below the highest address that the kernel takes',
  );
});

t.test('RAM ends below the devices of a PC', async (t) => {
  t.doesNotThrow(() => checkPcMemory(3 * 2 ** 30));
  t.throws(() => checkPcMemory(4 * 2 ** 30), {
    name: 'UsageError',
    message: /^--memory 4G is more than a guest with a PC's devices can have here/,
    hint: 'Ask for 3G or less.',
  });
});
