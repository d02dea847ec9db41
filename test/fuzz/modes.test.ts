/**
 * The modes of the processor that a guest can put itself into: protected mode, 32-bit paging, PAE,
 * long mode, and combinations that no manual allows, with tables that are right, wrong, missing, or
 * not in RAM at all.
 */
import fc from 'fast-check';
import t from 'tap';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { ROOM, tryCases } from './cases.js';
import { GuestBed, MEMORY_BYTES } from './guest-bed.js';
import { type Bytes, instructions, little } from './machine-code.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());

/** Of a flat image, which is loaded at 0x1000. */
const BASE = 0x1000;
const PAYLOAD = 0x1400;
const GDT = 0x2000;
const GDT_POINTER = 0x2800;
const PAGE_DIRECTORY = 0x3000;
const PML4 = 0x4000;
const PDPT = 0x5000;
const PAE_DIRECTORY = 0x6000;
const IMAGE_BYTES = 0x7000;

const GDT_ENTRIES: readonly bigint[] = [
  0n,
  0x00cf_9b00_0000_ffffn, // 0x08 code, 32-bit
  0x00cf_9300_0000_ffffn, // 0x10 data
  0x00af_9b00_0000_ffffn, // 0x18 code, 64-bit
  0x000f_9b00_0000_ffffn, // 0x20 code, 16-bit
  0x00cf_fb00_0000_ffffn, // 0x28 code, CPL3
  0x0000_8900_9000_0067n, // 0x30 TSS
  0xffff_ffff_ffff_ffffn,
];

const word = fc.oneof(
  fc.integer({ min: 0, max: 31 }).map((bit) => 2 ** bit),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);

interface Registers {
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly selector: number;
}

/** As the manual has them. */
const MODES: Readonly<Record<string, Registers>> = {
  'protected mode': { cr0: 0x11, cr3: 0, cr4: 0, efer: 0, selector: 0x08 },
  '32-bit paging': { cr0: 0x8000_0011, cr3: PAGE_DIRECTORY, cr4: 0x10, efer: 0, selector: 0x08 },
  PAE: { cr0: 0x8000_0011, cr3: PDPT, cr4: 0x20, efer: 0, selector: 0x08 },
  'long mode': { cr0: 0x8000_0011, cr3: PML4, cr4: 0x20, efer: 0x100, selector: 0x18 },
};

const anyRegisters: fc.Arbitrary<Registers> = fc.record({
  cr0: fc.oneof(
    fc.constantFrom(0x11, 0x1, 0x8000_0011, 0x8000_0001, 0x8001_0033, 0xe000_0011, 0x8000_0000),
    word,
  ),
  cr3: fc.constantFrom(PAGE_DIRECTORY, PML4, PDPT, 0, 0x20_0000, MEMORY_BYTES, 0xffff_f000, 0x5),
  cr4: fc.oneof(fc.constantFrom(0, 0x10, 0x20, 0x30, 0x620, 0x6b0, 0x2_0020, 0x4_0620), word),
  efer: fc.oneof(fc.constantFrom(0, 0x100, 0x900, 0x901, 0x1000, 0x1100), word),
  selector: fc.constantFrom(0x08, 0x08, 0x18, 0x18, 0x20, 0x28, 0x30, 0x38, 0),
});

const ORDER = ['cr4', 'cr3', 'efer', 'cr0'] as const;
type Step = (typeof ORDER)[number];

const MOVE_TO: Readonly<Record<Exclude<Step, 'efer'>, Bytes>> = {
  cr0: [0x0f, 0x22, 0xc0],
  cr3: [0x0f, 0x22, 0xd8],
  cr4: [0x0f, 0x22, 0xe0],
};

/** What changes in the tables: an entry, and its value. */
const changes = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: (IMAGE_BYTES - 0x1000) / 8 - 1 }),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  ),
  { maxLength: 6 },
);

function tables(image: DataView): void {
  const set = (address: number, entry: bigint): void =>
    image.setBigUint64(address - BASE, entry, true);
  for (const [index, entry] of GDT_ENTRIES.entries()) {
    set(GDT + index * 8, entry);
  }
  image.setUint16(GDT_POINTER - BASE, GDT_ENTRIES.length * 8 - 1, true);
  image.setUint32(GDT_POINTER - BASE + 2, GDT, true);
  for (let at = 0; at < 1024; at++) {
    image.setUint32(PAGE_DIRECTORY - BASE + at * 4, ((at << 22) | 0x87) >>> 0, true);
  }
  set(PML4, BigInt(PDPT | 7));
  set(PDPT, BigInt(PAE_DIRECTORY | 1));
  for (let at = 0; at < 512; at++) {
    set(PAE_DIRECTORY + at * 8, (BigInt(at) << 21n) | 0x87n);
  }
}

interface Guest {
  readonly registers: Registers;
  readonly order: readonly Step[];
  readonly changes: readonly (readonly [number, bigint])[];
  readonly payload: Uint8Array;
}

function imageOf(guest: Guest): Uint8Array {
  const { registers, order, changes, payload } = guest;
  const image = new Uint8Array(IMAGE_BYTES);
  const view = new DataView(image.buffer);
  tables(view);
  for (const [at, value] of changes) {
    view.setBigUint64(0x1000 + at * 8, value, true);
  }
  const code: Bytes = [
    ...[0xfa, 0x0f, 0x01, 0x16, ...little(GDT_POINTER, 2)], // cli; lgdt
    ...order.flatMap((step): Bytes => {
      const load = [0x66, 0xb8, ...little(registers[step], 4)]; // mov $value, %eax
      return step === 'efer'
        ? [0x66, 0xb9, ...little(0xc000_0080, 4), 0x66, 0x31, 0xd2, ...load, 0x0f, 0x30]
        : [...load, ...MOVE_TO[step]];
    }),
    ...[0x66, 0xea, ...little(PAYLOAD, 4), ...little(registers.selector, 2)], // ljmp
  ];
  image.set(code);
  image.set([...payload.subarray(0, GDT - PAYLOAD - 1), 0xf4], PAYLOAD - BASE);
  return image;
}

for (const [name, registers] of Object.entries(MODES)) {
  t.test(`${name} is reached where this KVM has it`, { skip }, async (t) => {
    const image = imageOf({ registers, order: ORDER, changes: [], payload: new Uint8Array() });
    const untrapped = bed.run(image, { delivery: 'kernel' }).end.reason;
    const { reason } = bed.run(image).end;
    if (untrapped !== 'halted' && /paging|PAE/.test(name)) {
      t.comment('kvm_pvm has no paging but that of long mode');
      return;
    }
    t.strictSame([untrapped, reason], ['halted', 'halted']);
  });
}

t.test('whatever mode it is in, it ends', { skip }, async (t) => {
  const cases = fc.record({
    registers: fc.oneof(fc.constantFrom(...Object.values(MODES)), anyRegisters),
    order: fc.oneof(fc.constant([...ORDER]), fc.shuffledSubarray([...ORDER])),
    changes: fc.oneof(fc.constant([]), changes),
    payload: fc.oneof(instructions(16), instructions(64)),
  });
  await tryCases(t, 'registers: modes a guest can reach', cases, (given) => {
    bed.run(imageOf(given));
  });
  t.comment(JSON.stringify(Object.fromEntries(bed.ends)));
  t.ok(bed.ends.size >= 3, 'guests end in more than one way');
});
