/** Random Linux kernels: bzImages whose header says anything, ELF files with PVH notes. */
import fc from 'fast-check';
import { boot_params, setup_header } from '../../src/uapi/bootparam.js';
import { buildBzImage, CODE_BYTES } from '../support/bzimage-builder.js';
import { buildElf, buildPvhNote } from '../support/elf-builder.js';
import { mutationsOf, word64 } from './elf-files.js';

type Field = keyof typeof setup_header.offset;

const HEADER = boot_params.offset.hdr;
/** Those that are looked at, each with what it is in a usable kernel. */
const FIELDS: Readonly<Partial<Record<Field, number>>> = {
  setup_sects: 2,
  syssize: CODE_BYTES / 16,
  boot_flag: 0xaa55,
  version: 0x020f,
  loadflags: 1,
  xloadflags: 1,
  pref_address: 0x10_0000,
  init_size: 0x20_0000,
  cmdline_size: 2047,
  initrd_addr_max: 0x7fff_ffff,
};
const WIDTHS: Readonly<Partial<Record<Field, number>>> = {
  setup_sects: 8,
  boot_flag: 16,
  version: 16,
  loadflags: 8,
  xloadflags: 16,
  pref_address: 53,
};

/** Most often what is usable, else any number that the field holds. */
function fieldValues(field: Field, usable: number): fc.Arbitrary<number> {
  const bits = BigInt(WIDTHS[field] ?? 32);
  const any = word64.map((value) => Number(BigInt.asUintN(Number(bits), value)));
  return fc.oneof(
    { weight: 8, arbitrary: fc.constant(usable) },
    { weight: 1, arbitrary: any },
    { weight: 1, arbitrary: fc.nat(15).map((less) => Math.max(0, usable - less)) },
  );
}

/** A bzImage whose fields are mostly usable, and whose code may be cut short. */
export const anyBzImage: fc.Arbitrary<Uint8Array> = fc
  .record({
    fields: fc.record(
      Object.fromEntries(
        Object.entries(FIELDS).map(([field, value]) => [field, fieldValues(field as Field, value)]),
      ),
    ),
    codeBytes: fc.oneof(
      { weight: 4, arbitrary: fc.constant(CODE_BYTES) },
      { weight: 1, arbitrary: fc.nat(CODE_BYTES + 64) },
    ),
    jump: fc.oneof(
      { weight: 4, arbitrary: fc.constant(null) },
      { weight: 1, arbitrary: fc.nat(255) },
    ),
  })
  .map(({ fields, codeBytes, jump }) => {
    const file = buildBzImage(fields as Partial<Record<Field, number>>, codeBytes);
    if (jump !== null) {
      file[0x201] = jump; // how long the header is
    }
    const described = JSON.stringify({ fields, codeBytes, jump });
    return Object.defineProperty(file, fc.toStringMethod, { value: () => described });
  });

const usable = buildBzImage(FIELDS);

/** A valid bzImage with bytes of it changed, most of them in its header, or cut short. */
export const mutatedBzImage = mutationsOf(usable, {
  start: HEADER,
  end: HEADER + setup_header.size,
});

const PVH_ENTRY = 0x10_0000;
/** Halts, and halts again. */
const CODE = new Uint8Array(16).fill(0xf4);

/** An ELF file with a PVH note, of either width, as it is or with bytes of it changed. */
export const mutatedPvh: fc.Arbitrary<Uint8Array> = fc
  .constantFrom(
    buildElf({ code: CODE, note: buildPvhNote(PVH_ENTRY) }),
    buildElf({ code: CODE, note: buildPvhNote(PVH_ENTRY, 8) }),
  )
  .chain((file) => mutationsOf(file, { start: 0, end: file.length }));

const entries = fc.oneof(
  { weight: 2, arbitrary: fc.nat(0x20).map((less) => PVH_ENTRY + 0x10 - less) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);

/** The same with an entry, addresses and sizes of any values. */
const anyPvh: fc.Arbitrary<Uint8Array> = fc
  .record({
    entry: entries,
    address: fc.oneof(fc.constant(BigInt(PVH_ENTRY)), word64),
    bytes: fc.oneof(fc.constant(0x1000n), word64),
  })
  .map(({ entry, address, bytes }) =>
    buildElf({ code: CODE, note: buildPvhNote(entry), p_paddr: address, p_memsz: bytes }),
  );

/** Any kernel, of both kinds. */
export const anyKernel: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(usable) },
  { weight: 3, arbitrary: fc.constant(buildElf({ code: CODE, note: buildPvhNote(PVH_ENTRY) })) },
  { weight: 4, arbitrary: anyBzImage },
  { weight: 2, arbitrary: mutatedBzImage },
  { weight: 2, arbitrary: mutatedPvh },
  { weight: 2, arbitrary: anyPvh },
);
