/** Guests that write over what they run on: page tables, GDT, TSS, IDT, their code and their stack. */
import fc from 'fast-check';
import t from 'tap';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { ROOM, tryCases } from './cases.js';
import { GuestBed } from './guest-bed.js';
import { type Bytes, instructions, little, place } from './machine-code.js';
import { skippingExceptions } from './skipping-image.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());

/** PML4, PDPT, page directory, GDT, TSS, and of its own image: set-up, code, handlers, IDT, stack. */
const VICTIMS = [
  0x10000, 0x11000, 0x12000, 0x8000, 0x9000, 0x100000, 0x100800, 0x101000, 0x102000, 0x104800,
];
/** Entries of tables that point at the tables, at missing memory, at nothing, and where none may. */
const entry = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        0n,
        0x10000n,
        0x11000n,
        0x12000n,
        0x200000n,
        0x3ff000n,
        0x400000n,
        2n ** 40n,
        2n ** 51n,
      ),
      fc.constantFrom(0n, 1n, 3n, 7n, 0x87n, 0x1ffn, 0x8000_0000_0000_0007n),
    )
    .map(([address, flags]) => address | flags),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);

const loadRax = (value: bigint): Bytes => [0x48, 0xb8, ...little(value, 8)];
const store = fc
  .tuple(
    fc.constantFrom(...VICTIMS),
    fc.oneof(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 511 })),
    entry,
  )
  .map(([victim, index, value]) => [
    ...loadRax(value),
    0x48,
    0xa3,
    ...little(victim + index * 8, 8),
  ]);
const fill = fc
  .tuple(fc.constantFrom(...VICTIMS), fc.integer({ min: 1, max: 2048 }), entry)
  .map(([victim, count, value]) => [
    ...[0xbf, ...little(victim, 4), 0xb9, ...little(count, 4)], // mov to %edi, %ecx
    ...[...loadRax(value), 0xf3, 0x48, 0xab], // rep stosq
  ]);
const touch = place.map((address) => [0x48, 0xbb, ...little(address, 8), 0x8a, 0x03]); // mov (%rbx), %al
const flush = fc.constantFrom<Bytes>(
  [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8], // mov %cr3, %rax and back
  [0x0f, 0x01, 0x3c, 0x25, 0x00, 0x00, 0x20, 0x00], // invlpg 0x200000
  [0xcd, 0x80], // int
  [0x6a, 0x08, 0x68, 0x00, 0x08, 0x10, 0x00, 0x48, 0xcb], // push; push; lretq to the code again
);

t.test('whatever it writes over, it ends', { skip }, async (t) => {
  const part = fc.oneof(
    { weight: 4, arbitrary: store },
    { weight: 1, arbitrary: fill },
    { weight: 3, arbitrary: touch },
    { weight: 2, arbitrary: flush },
    { weight: 1, arbitrary: instructions(64).map((code) => [...code]) },
  );
  const cases = fc.record({
    parts: fc.array(part, { minLength: 1, maxLength: 20 }),
    level: fc.constantFrom<0 | 3>(0, 3),
    unitBytes: fc.constantFrom(4096, 65536),
  });
  await tryCases(t, 'own tables: written over', cases, ({ parts, level, unitBytes }) => {
    bed.run(skippingExceptions(parts.flat(), level), { unitBytes });
  });
  t.comment(JSON.stringify(Object.fromEntries(bed.ends)));
  t.ok(bed.ends.size >= 3, 'guests end in more than one way');
});
