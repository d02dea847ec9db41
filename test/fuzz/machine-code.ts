/** Random machine code: bytes of any value, and instructions that are worth meeting. */
import fc from 'fast-check';

export type Bytes = readonly number[];

export const little = (value: bigint | number, bytes: number): Bytes => {
  const word = BigInt.asUintN(bytes * 8, BigInt(value));
  return Array.from({ length: bytes }, (_, at) => Number((word >> BigInt(at * 8)) & 0xffn));
};

/** Addresses where guest physical memory, or a mapping of it, begins or ends. */
const PLACES: readonly bigint[] = [
  0x0n,
  0x1000n,
  0x8000n, // GDT
  0x9000n, // TSS
  0x10000n, // PML4
  0x11000n, // PDPT
  0x12000n, // page directory
  0x100000n, // image
  0x200000n, // missing from here on
  0x2ff000n,
  0x400000n, // end of RAM
  0x4000_0000n, // end of the mapping
  0xfee0_0000n, // APIC
  0xfeff_c000n, // identity map of VMX
  0xfeff_d000n, // its TSS
  0x1_0000_0000n,
  0x7fff_ffff_f000n,
  0x8000_0000_0000n, // canonical no more
  0xffff_8000_0000_0000n,
  0xffff_ffff_ffff_f000n,
];

export const place = fc
  .tuple(fc.constantFrom(...PLACES), fc.integer({ min: -33, max: 33 }))
  .map(([start, offset]) => BigInt.asUintN(64, start + BigInt(offset)));

const value = fc.oneof(place, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
const byte = fc.integer({ min: 0, max: 255 });
const register = fc.integer({ min: 0, max: 7 });

/** Model-specific registers that KVM or the processor gives a meaning to. */
const MSRS = [
  0x10, 0x1b, 0x8b, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1a0, 0x1d9, 0x200, 0x277, 0x2ff, 0x3f1,
  0x400, 0x401, 0x6e0, 0x800, 0x80b, 0x830, 0xd93, 0xda0, 0x4000_0000, 0x4000_0001, 0x4000_0073,
  0x4b56_4d00, 0x4b56_4d01, 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04, 0x4b56_4d05, 0x4b56_4d06,
  0x4b56_4d07, 0x4b56_4df0, 0x4b56_4df1, 0xc000_0080, 0xc000_0081, 0xc000_0082, 0xc000_0084,
  0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103, 0xc001_0015, 0xc001_0117,
];

/** Without operands, or with some that do not matter. */
const LONE: readonly Bytes[] = [
  [0xf4], // hlt
  [0xfa], // cli
  [0xfb], // sti
  [0xcc], // int3
  [0xf1], // icebp
  [0xce], // into
  [0xcf], // iret
  [0x48, 0xcf],
  [0xc3],
  [0xcb],
  [0x9c],
  [0x9d], // popf
  [0x0f, 0x05], // syscall
  [0x0f, 0x07], // sysret
  [0x0f, 0x34], // sysenter
  [0x0f, 0x35],
  [0x0f, 0x06], // clts
  [0x0f, 0x08], // invd
  [0x0f, 0x09], // wbinvd
  [0x0f, 0x0b], // ud2
  [0x0f, 0x30], // wrmsr
  [0x0f, 0x31], // rdtsc
  [0x0f, 0x32], // rdmsr
  [0x0f, 0x33], // rdpmc
  [0x0f, 0x01, 0xc1], // vmcall
  [0x0f, 0x01, 0xd9], // vmmcall
  [0x0f, 0x01, 0xc2], // vmlaunch
  [0x0f, 0x01, 0xd8], // vmrun
  [0x0f, 0x01, 0xc8], // monitor
  [0x0f, 0x01, 0xc9], // mwait
  [0x0f, 0x01, 0xd0], // xgetbv
  [0x0f, 0x01, 0xd1], // xsetbv
  [0x0f, 0x01, 0xf8], // swapgs
  [0x0f, 0x01, 0xf9], // rdtscp
  [0x0f, 0xa2], // cpuid
  [0x0f, 0xaa], // rsm
  [0xf3, 0x90], // pause
  [0xd7],
  [0x0f, 0x77],
  [0xdb, 0xe3],
  [0xeb, 0xfe], // jmp to itself
  [0xe8, 0, 0, 0, 0],
  [0xc8, 0xff, 0xff, 0x1f], // enter
];

/** String instructions, with and without REP and the other operand and address sizes. */
const string = fc
  .tuple(
    fc.constantFrom<Bytes>([], [0xf3], [0xf2]),
    fc.constantFrom<Bytes>([], [0x66], [0x67], [0x48]),
    fc.constantFrom(0x6c, 0x6d, 0x6e, 0x6f, 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae),
  )
  .map(([repeat, size, opcode]) => [...repeat, ...size, opcode]);

/** OUT to and IN from a port in DX. */
const port = fc.tuple(
  fc.oneof(
    fc.constantFrom(0x3f8, 0x3fd, 0xf4, 0xa00, 0xa3c, 0xa40, 0xcf8, 0x20, 0x60),
    fc.integer({ min: 0, max: 0xffff }),
  ),
  fc.constantFrom<Bytes>([0xec], [0xed], [0x66, 0xed], [0xee], [0xef], [0x66, 0xef], [0xf3, 0x6e]),
);

/** One memory operand through a register, or absolute: any opcode of the one-byte and 0f maps. */
const memory = fc
  .tuple(
    fc.subarray([0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64], { maxLength: 2 }),
    fc.constantFrom<Bytes>([], [], [0x48], [0x4c], [0x40]),
    fc.constantFrom<Bytes>([], [0x0f], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]),
    byte,
    fc.tuple(fc.constantFrom(0, 1, 2, 3), register, register),
    fc.uint8Array({ minLength: 0, maxLength: 9 }),
  )
  .map(([prefixes, rex, map, opcode, [mod, reg, rm], rest]) => [
    ...prefixes,
    ...rex,
    ...map,
    opcode,
    (mod << 6) | (reg << 3) | rm,
    ...rest,
  ]);

const jump = fc
  .tuple(fc.integer({ min: 0x70, max: 0x7f }), fc.integer({ min: -20, max: 20 }))
  .map(([opcode, to]) => [opcode, to & 0xff]);

/** A register set to an address that matters. */
function setRegister(bits: 16 | 64): fc.Arbitrary<Bytes> {
  return fc
    .tuple(register, value)
    .map(([to, word]) =>
      bits === 64 ? [0x48, 0xb8 + to, ...little(word, 8)] : [0x66, 0xb8 + to, ...little(word, 4)],
    );
}

/** Control, debug and segment registers, descriptor tables. */
const system = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(0x20, 0x21, 0x22, 0x22, 0x22, 0x23),
      fc.constantFrom(0, 2, 3, 4, 8, 7, 6),
      register,
    )
    .map(([opcode, to, from]) => [0x0f, opcode, 0xc0 | (to << 3) | from]),
  fc
    .tuple(fc.constantFrom(0, 1), fc.integer({ min: 0, max: 7 }), register)
    .map(([opcode, group, rm]) => [0x0f, opcode, (group << 3) | (rm === 4 || rm === 5 ? 0 : rm)]),
  fc
    .tuple(fc.constantFrom(0x8c, 0x8e), register, register)
    .map(([opcode, segment, from]) => [opcode, 0xc0 | (segment << 3) | from]),
  byte.map((vector) => [0xcd, vector]),
);

function accessMsr(bits: 16 | 64): fc.Arbitrary<Bytes> {
  const prefix = bits === 16 ? [0x66] : [];
  return fc
    .tuple(fc.constantFrom(...MSRS), value, fc.constantFrom(0x30, 0x30, 0x32))
    .map(([msr, word, opcode]) => [
      ...[...prefix, 0xb9, ...little(msr, 4)],
      ...[...prefix, 0xb8, ...little(word, 4)],
      ...[...prefix, 0xba, ...little(word >> 32n, 4)],
      ...[0x0f, opcode],
    ]);
}

/** Instructions for a mode, one after the other, now and then cut short or misaligned. */
export function instructions(bits: 16 | 64): fc.Arbitrary<Uint8Array> {
  const dx = (number: number): Bytes => [
    ...(bits === 16 ? [] : [0x66]),
    0xba,
    ...little(number, 2),
  ];
  const one = fc.oneof(
    { weight: 6, arbitrary: setRegister(bits) },
    { weight: 6, arbitrary: memory },
    { weight: 3, arbitrary: fc.constantFrom(...LONE) },
    { weight: 3, arbitrary: string },
    { weight: 3, arbitrary: port.map(([number, access]) => [...dx(number), ...access]) },
    { weight: 3, arbitrary: system },
    { weight: 2, arbitrary: accessMsr(bits) },
    { weight: 2, arbitrary: jump },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 6 }).map((bytes) => [...bytes]) },
  );
  return fc.oneof(
    {
      weight: 8,
      arbitrary: fc
        .array(one, { minLength: 1, maxLength: 24 })
        .map((parts) => Uint8Array.from(parts.flat())),
    },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 200 }) },
  );
}
