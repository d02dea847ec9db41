/** Walks the tables in software, as the processor does (Intel SDM vol. 3A, 4.5 and 7.2.3). */
import fc from 'fast-check';
import t from 'tap';
import { GDT_ENTRIES } from '../../src/kvm/registers.js';
import { buildLongModeTables } from '../../src/machine/boot-tables.js';
import {
  GDT_ADDRESS,
  MAX_MEMORY_BYTES,
  MIN_MEMORY_BYTES,
  PML4_ADDRESS,
  TSS_ADDRESS,
} from '../../src/machine/guest-physical-map.js';

const GIB = 2 ** 30;
const ELF_IMAGES = 0x100000;

class Tables {
  readonly segments: ReturnType<typeof buildLongModeTables>;

  constructor(memoryBytes: number) {
    this.segments = buildLongModeTables(memoryBytes);
  }

  /** A 64-bit word of guest physical memory; 0 where no segment lies. */
  word(address: number): bigint {
    for (const { address: start, data } of this.segments) {
      if (address >= start && address + 8 <= start + data.length) {
        return Buffer.from(data.buffer, data.byteOffset).readBigUInt64LE(address - start);
      }
    }
    return 0n;
  }

  /** Walks from the PML4. Null where it is not mapped. */
  walk(
    address: number,
  ): { physical: number; bytes: number; user: boolean; writable: boolean } | null {
    let table = PML4_ADDRESS;
    let rights = 0x7n;
    for (const [level, bytes] of [
      [0, 2 ** 39],
      [1, GIB],
      [2, 2 ** 21],
    ] as const) {
      const entry = this.word(table + (Math.floor(address / bytes) % 512) * 8);
      rights &= entry;
      if ((rights & 1n) === 0n) {
        return null;
      }
      const target = Number(entry & 0x000f_ffff_ffff_f000n);
      if ((entry & 0x80n) !== 0n && level > 0) {
        const physical = target + (address % bytes);
        return { physical, bytes, user: (rights & 4n) !== 0n, writable: (rights & 2n) !== 0n };
      }
      table = target;
    }
    throw new Error('a page table below a page directory');
  }
}

const sizes = fc.constantFrom(
  MIN_MEMORY_BYTES,
  256 * 2 ** 20,
  GIB,
  GIB + 4096,
  5 * GIB,
  MAX_MEMORY_BYTES,
);

t.test('all of RAM is mapped to itself, in 2 MiB pages that CPL3 may write', async (t) => {
  const tables = new Map<number, Tables>();
  const tablesOf = (bytes: number): Tables => {
    const known = tables.get(bytes) ?? new Tables(bytes);
    tables.set(bytes, known);
    return known;
  };
  fc.assert(
    fc.property(
      sizes,
      fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      (bytes, at) => {
        const address = Math.floor(bytes * at);
        const found = tablesOf(bytes).walk(address);
        return (
          found !== null &&
          found.physical === address &&
          found.bytes === 2 ** 21 &&
          found.user &&
          found.writable
        );
      },
    ),
    { numRuns: 3000 },
  );
  for (const bytes of [MIN_MEMORY_BYTES, GIB, MAX_MEMORY_BYTES]) {
    t.equal(tablesOf(bytes).walk(bytes - 1)?.physical, bytes - 1, 'the last byte');
    const end = Math.ceil(bytes / GIB) * GIB;
    t.equal(tablesOf(bytes).walk(end), null, 'nothing behind the last GiB');
    t.equal(tablesOf(bytes).walk(2 ** 39), null, 'nor in the next PML4 entry');
  }
});

t.test('the tables lie between their addresses and do not overlap', async (t) => {
  for (const bytes of [MIN_MEMORY_BYTES, MAX_MEMORY_BYTES]) {
    const { segments } = new Tables(bytes);
    t.strictSame(
      segments.map(({ address }) => address),
      [GDT_ADDRESS, TSS_ADDRESS, PML4_ADDRESS],
    );
    segments.forEach((segment, index) => {
      const limit = segments[index + 1]?.address ?? ELF_IMAGES;
      t.ok(segment.address + segment.bytes <= limit, `0x${segment.address.toString(16)}`);
      t.equal(segment.bytes, segment.data.length);
    });
  }
});

t.test('the GDT is the one the selectors index', async (t) => {
  const tables = new Tables(MIN_MEMORY_BYTES);
  GDT_ENTRIES.forEach((entry, index) => {
    t.equal(tables.word(GDT_ADDRESS + index * 8), entry);
  });
});

t.test('the TSS allows every port', async (t) => {
  const { data, bytes } = new Tables(MIN_MEMORY_BYTES).segments[1]!;
  const map = Buffer.from(data).readUInt16LE(102);
  t.equal(map, 104);
  // The processor reads two bytes for an access, the second of which may lie behind the map.
  t.equal(bytes, map + 8192 + 1);
  t.ok(data.subarray(map, map + 8192).every((byte) => byte === 0));
  t.equal(data[map + 8192], 0xff);
});
