import t, { type Test } from 'tap';
import { type PagingRegisters, walkPageTables } from '../../src/kvm/page-walk.js';
import {
  EFER_LMA,
  X86_CR0_PE,
  X86_CR0_PG,
  X86_CR4_LA57,
  X86_CR4_PAE,
  X86_CR4_PSE,
} from '../../src/uapi/kvm-x86.js';

t.setTimeout(30_000);

const MEMORY_BYTES = 0x20000;
const ROOT = 0x1000;
const PRESENT = 1n;
const LARGE = 0x81n;
const NO_EXECUTE = 1n << 63n;
const PAGING = X86_CR0_PE + X86_CR0_PG;

/** Physical memory with entries in it; what is read of it is counted. */
class Tables {
  readonly view = new DataView(new ArrayBuffer(MEMORY_BYTES));
  reads = 0;

  entry(table: number, index: number, value: bigint, bytes: 4 | 8 = 8): this {
    if (bytes === 8) {
      this.view.setBigUint64(table + index * 8, value, true);
    } else {
      this.view.setUint32(table + index * 4, Number(value), true);
    }
    return this;
  }

  walk(linear: bigint, registers: Partial<PagingRegisters>): number | null {
    this.reads = 0;
    const all = { cr0: PAGING, cr3: ROOT, cr4: 0, efer: 0, ...registers };
    return walkPageTables(linear, all, (gpa, bytes) => {
      this.reads++;
      return gpa + bytes <= MEMORY_BYTES ? new Uint8Array(this.view.buffer, gpa, bytes) : null;
    });
  }
}

t.test('without paging an address is its own', async (t) => {
  const tables = new Tables();
  t.equal(tables.walk(0xfffffff0n, { cr0: X86_CR0_PE }), 0xfffffff0);
  t.equal(tables.walk(0x1_0000_1234n, { cr0: 0 }), 0x1234, 'it has 32 bits');
  t.equal(tables.reads, 0);
});

const LONG = { cr4: X86_CR4_PAE, efer: EFER_LMA };

t.test('four levels, as of a kernel at the top of the address space', async (t) => {
  const tables = new Tables()
    .entry(ROOT, 511, 0x2000n | PRESENT)
    .entry(0x2000, 510, 0x3000n | PRESENT)
    .entry(0x3000, 8, 0x4000n | PRESENT)
    .entry(0x4000, 0x123, 0x7_5000n | PRESENT | NO_EXECUTE)
    .entry(0x3000, 9, 0x1_2340_0000n | LARGE)
    .entry(0x2000, 511, 0x40_0000_0000n | LARGE);
  t.equal(tables.walk(0xffff_ffff_8112_3456n, LONG), 0x75456);
  t.equal(tables.reads, 4);
  t.equal(tables.walk(0xffff_ffff_8121_2345n, LONG), 0x1_2341_2345, 'a page of 2 MiB');
  t.equal(tables.walk(0xffff_ffff_c123_4567n, LONG), 0x40_0123_4567, 'a page of 1 GiB');
  t.equal(tables.walk(0xffff_ffff_8112_4000n, LONG), null, 'nothing is there');
  t.equal(tables.walk(0n, LONG), null, 'not even a table');
  t.equal(tables.walk(0xffff_ffff_8112_3456n, { ...LONG, cr3: ROOT + 0x18 }), 0x75456, 'PCID');
});

t.test('five levels', async (t) => {
  const tables = new Tables()
    .entry(ROOT, 1, 0x2000n | PRESENT)
    .entry(0x2000, 2, 0x3000n | PRESENT)
    .entry(0x3000, 3, 0x4000n | PRESENT)
    .entry(0x4000, 4, 0x5000n | PRESENT)
    .entry(0x5000, 5, 0x9000n | PRESENT);
  const linear = (1n << 48n) | (2n << 39n) | (3n << 30n) | (4n << 21n) | (5n << 12n) | 6n;
  const registers = { cr4: X86_CR4_PAE + X86_CR4_LA57, efer: EFER_LMA };
  t.equal(tables.walk(linear, registers), 0x9006);
  t.equal(tables.reads, 5);
  tables.entry(0x2000, 2, 0x3000n | LARGE);
  t.equal(tables.walk(linear, registers), 0x9006, 'the two upper levels have no large pages');
});

t.test('PAE: a root of four entries, anywhere in a page', async (t) => {
  const root = 0x1020;
  const tables = new Tables()
    .entry(root, 3, 0x2000n | LARGE) // the bit means nothing here
    .entry(0x2000, 1, 0x3000n | PRESENT)
    .entry(0x3000, 2, 0xa000n | PRESENT)
    .entry(0x2000, 2, 0x60_0000n | LARGE);
  const registers = { cr3: root + 0x18, cr4: X86_CR4_PAE };
  t.equal(tables.walk(0xc020_2abcn, registers), 0xaabc);
  t.equal(tables.walk(0xc04f_1234n, registers), 0x6f_1234, 'a page of 2 MiB');
  t.equal(tables.walk(0n, registers), null);
});

t.test('two levels of 32 bits', async (t) => {
  const tables = new Tables()
    .entry(ROOT, 0x301, 0x2000n | PRESENT, 4)
    .entry(0x2000, 0x17, 0xb000n | PRESENT, 4)
    .entry(ROOT, 0x302, 0xff40_2000n | LARGE, 4); // bit 32 of its address is 1
  t.equal(tables.walk(0xc041_7defn, { cr4: X86_CR4_PSE }), 0xbdef);
  t.equal(tables.walk(0xc0a0_0123n, { cr4: X86_CR4_PSE }), 0x1_ff60_0123, 'a page of 4 MiB');
  t.equal(tables.walk(0xc0a0_0123n, {}), null, 'which only CR4.PSE allows');
});

t.test('a table that is not there, or is its own', async (t: Test) => {
  t.equal(new Tables().walk(0x1000n, { ...LONG, cr3: 0xf_ffff_f000 }), null);
  const tables = new Tables().entry(ROOT, 0, BigInt(ROOT) | PRESENT);
  t.equal(tables.walk(0x1234n - 0x1000n, LONG), ROOT + 0x234, 'it ends all the same');
  t.equal(tables.reads, 4);
});
