/** Random ELF64 files: headers of any fields, notes of any shape, and what is left of valid ones. */
import fc from 'fast-check';

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;

/** Numbers that arithmetic on addresses goes wrong at. */
const EDGES = [
  0n,
  1n,
  3n,
  4n,
  0xfffn,
  0x1000n,
  0x8000n,
  0x10000n,
  0xfffffn,
  0x100000n,
  0x100ff8n,
  0x200000n,
  0x400000n,
  2n ** 29n,
  2n ** 30n,
  2n ** 31n,
  2n ** 32n,
  2n ** 48n,
  2n ** 52n,
  2n ** 53n,
  2n ** 63n,
];

/** A 64-bit number, most often at or next to an edge. */
export const word64 = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.constantFrom(...EDGES), fc.bigInt({ min: -2n, max: 2n }))
      .map(([edge, offset]) => BigInt.asUintN(64, edge + offset)),
  },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
  { weight: 3, arbitrary: fc.bigInt({ min: 0n, max: 0x400n }) },
);

/** A field with the value that makes a usable image, but for one time in `often`. */
const mostly = (value: bigint, often = 6): fc.Arbitrary<bigint> =>
  fc.oneof({ weight: often, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: word64 });

const programHeader = fc.record({
  p_type: fc.constantFrom(1, 1, 1, 1, 4, 4, 0, 2, 6, 0x6474e551),
  p_offset: fc.oneof(fc.bigInt({ min: 0n, max: 0x300n }), word64),
  p_paddr: mostly(0x100000n, 2),
  p_filesz: fc.oneof(fc.bigInt({ min: 0n, max: 0x100n }), word64),
  p_memsz: mostly(0x1000n, 3),
});

const file = fc.record({
  e_entry: mostly(0x100000n),
  e_phoff: mostly(64n),
  e_phentsize: mostly(56n),
  phnum: fc.oneof(
    { weight: 8, arbitrary: fc.constant<number | null>(null) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff }) },
  ),
  headers: fc.array(programHeader, { maxLength: 8 }),
  tail: fc.uint8Array({ maxLength: 512 }),
});

/** An ELF file with the identification of a usable one, whatever its other fields are. */
export const anyElf: fc.Arbitrary<Uint8Array> = file.map((fields) => {
  const { headers, tail, phnum } = fields;
  const bytes = Buffer.alloc(HEADER_BYTES + headers.length * PROGRAM_HEADER_BYTES + tail.length);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes.writeUInt16LE(2, 16);
  bytes.writeUInt16LE(62, 18);
  bytes.writeBigUInt64LE(fields.e_entry, 24);
  bytes.writeBigUInt64LE(fields.e_phoff, 32);
  bytes.writeUInt16LE(Number(BigInt.asUintN(16, fields.e_phentsize)), 54);
  bytes.writeUInt16LE(phnum ?? headers.length, 56);
  headers.forEach((header, index) => {
    const at = bytes.subarray(HEADER_BYTES + index * PROGRAM_HEADER_BYTES);
    at.writeUInt32LE(header.p_type, 0);
    at.writeBigUInt64LE(header.p_offset, 8);
    at.writeBigUInt64LE(header.p_paddr, 24);
    at.writeBigUInt64LE(header.p_filesz, 32);
    at.writeBigUInt64LE(header.p_memsz, 40);
  });
  bytes.set(tail, bytes.length - tail.length);
  return bytes;
});

const u32 = fc.oneof(
  fc.integer({ min: 0, max: 64 }),
  fc.constantFrom(9, 10, 11, 32, 0x7fff_fffc, 0x8000_0000, 0xffff_fffc, 0xffff_ffff),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);

const anyNote = fc
  .record({
    nameBytes: u32,
    descriptorBytes: u32,
    type: u32,
    ours: fc.boolean(),
    rest: fc.uint8Array({ maxLength: 64 }),
  })
  .map(({ nameBytes, descriptorBytes, type, ours, rest }) => {
    const header = Buffer.alloc(12);
    header.writeUInt32LE(ours ? 10 : nameBytes, 0);
    header.writeUInt32LE(descriptorBytes, 4);
    header.writeUInt32LE(ours ? 1 : type, 8);
    const name = ours ? Buffer.from('faultline\0\0\0', 'latin1') : Buffer.alloc(0);
    return Buffer.concat([header, name, rest]);
  });

/** The contents of a PT_NOTE segment. */
export const anyNotes: fc.Arbitrary<Uint8Array> = fc
  .array(anyNote, { maxLength: 6 })
  .map((notes) => Buffer.concat(notes));

/** Bytes of a file that are changed more often than others, from `start` to before `end`. */
interface Focus {
  readonly start: number;
  readonly end: number;
}

const ELF_HEADERS: Focus = { start: 0, end: HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES };

/** Single bytes of a file changed, and its end cut off: `valid` is not changed itself. */
export function mutationsOf(
  valid: Uint8Array,
  { start, end }: Focus = ELF_HEADERS,
): fc.Arbitrary<Uint8Array> {
  const value = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
  const position = fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: start, max: end - 1 }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: valid.length - 1 }) },
  );
  return fc
    .record({
      changes: fc.array(fc.tuple(position, value), { minLength: 1, maxLength: 12 }),
      length: fc.oneof(
        { weight: 3, arbitrary: fc.constant(valid.length) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: valid.length }) },
      ),
    })
    .map(({ changes, length }) => {
      const file = Uint8Array.from(valid);
      for (const [at, byte] of changes) {
        file[at] = byte;
      }
      return file.subarray(0, length);
    });
}
