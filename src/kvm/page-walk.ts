/**
 * A guest's own page tables, walked as its CPU does (Intel SDM, vol. 3A, chapter 4), to find the code
 * that it stands at. Access rights do not matter here: it is the guest's code that was to run.
 */
import { EFER_LMA, X86_CR0_PG, X86_CR4_LA57, X86_CR4_PAE, X86_CR4_PSE } from '../uapi/kvm-x86.js';

/** The registers that say how a guest translates addresses. */
export interface PagingRegisters {
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
}

/** Reads guest physical memory; null where nothing is there that may be read. */
export type ReadPhysical = (gpa: number, bytes: number) => Uint8Array | null;

const PRESENT = 1n;
const LARGE = 1n << 7n;
/** Bits 51 to 12 of an entry. */
const ADDRESS = 0x000f_ffff_ffff_f000n;
const LINEAR_48 = (1n << 48n) - 1n;
const LINEAR_32 = (1n << 32n) - 1n;

/** The levels of a mode, from the root: where in the address an index lies, and how wide it is. */
interface Levels {
  readonly shifts: readonly bigint[];
  readonly indexBits: bigint;
  readonly entryBytes: 4 | 8;
  /** Entries of this level and below may map a large page. */
  readonly largeFrom: number;
}

const LONG: Levels = { shifts: [39n, 30n, 21n, 12n], indexBits: 9n, entryBytes: 8, largeFrom: 1 };
const LONG_5: Levels = { ...LONG, shifts: [48n, ...LONG.shifts], largeFrom: 2 };
const PAE: Levels = { shifts: [30n, 21n, 12n], indexBits: 9n, entryBytes: 8, largeFrom: 1 };
const LEGACY: Levels = { shifts: [22n, 12n], indexBits: 10n, entryBytes: 4, largeFrom: 0 };

/** The guest physical address of a linear one; null where it is not mapped, or cannot be known. */
export function walkPageTables(
  linear: bigint,
  { cr0, cr3, cr4, efer }: PagingRegisters,
  read: ReadPhysical,
): number | null {
  if ((cr0 & X86_CR0_PG) === 0) {
    return Number(linear & LINEAR_32);
  }
  const isLong = (efer & EFER_LMA) !== 0;
  const hasPae = (cr4 & X86_CR4_PAE) !== 0;
  const isLong5 = isLong && (cr4 & X86_CR4_LA57) !== 0;
  const levels = isLong5 ? LONG_5 : isLong ? LONG : hasPae ? PAE : LEGACY;
  const hasLarge = isLong || hasPae || (cr4 & X86_CR4_PSE) !== 0;
  const { shifts, indexBits, entryBytes, largeFrom } = levels;
  const root = BigInt(cr3);
  let table = isLong || !hasPae ? root & ADDRESS : root & 0xffff_ffe0n;
  const address = isLong5 ? linear : linear & (isLong ? LINEAR_48 : LINEAR_32);
  for (const [level, shift] of shifts.entries()) {
    const isRootOfPae = levels === PAE && level === 0;
    const index = (address >> shift) & ((1n << (isRootOfPae ? 2n : indexBits)) - 1n);
    const bytes = read(Number(table) + Number(index) * entryBytes, entryBytes);
    if (bytes === null) {
      return null;
    }
    const entry = littleEndian(bytes);
    if ((entry & PRESENT) === 0n) {
      return null;
    }
    const offset = (1n << shift) - 1n;
    const isLast = level === shifts.length - 1;
    if (!isLast && hasLarge && level >= largeFrom && (entry & LARGE) !== 0n) {
      const base = levels === LEGACY ? pse36(entry) : entry & ADDRESS & ~offset;
      return Number(base | (address & offset));
    }
    table = entry & ADDRESS;
    if (isLast) {
      return Number(table | (address & offset));
    }
  }
  return null;
}

/** A page of 4 MiB: bits 20 to 13 of its entry are bits 39 to 32 of its address. */
function pse36(entry: bigint): bigint {
  return (entry & 0xffc0_0000n) | (((entry >> 13n) & 0xffn) << 32n);
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}
