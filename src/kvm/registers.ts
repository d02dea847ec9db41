import type { ScratchPage } from '../ffi/scratch.js';
import {
  EFER_LMA,
  EFER_LME,
  EFER_NX,
  kvm_dtable,
  kvm_segment,
  kvm_sregs,
  X86_CR0_ET,
  X86_CR0_MP,
  X86_CR0_NE,
  X86_CR0_PE,
  X86_CR0_PG,
  X86_CR0_WP,
  X86_CR4_MCE,
  X86_CR4_OSFXSR,
  X86_CR4_OSXMMEXCPT,
  X86_CR4_PAE,
} from '../uapi/kvm-x86.js';

/** Current privilege levels a guest may start at in 64-bit mode. */
export type PrivilegeLevel = 0 | 3;

/** Where the tables that 64-bit mode needs lie in guest physical memory. */
export interface LongModeTables {
  readonly gdtAddress: number;
  /** A TSS that {@link buildTaskStateSegment} has made. */
  readonly tssAddress: number;
  readonly pml4Address: number;
}

type SegmentName = 'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss' | 'tr' | 'ldt';
type Segment = Partial<Record<keyof typeof kvm_segment.offset, number>>;

/** Segment types of the Intel SDM, vol. 3A, 3.4.5.1 and 3.5. */
const CODE_EXECUTE_READ_ACCESSED = 0xb;
const DATA_READ_WRITE_ACCESSED = 0x3;
const TSS_BUSY_64_BIT = 0xb;
const TSS_BUSY_32_BIT = 0xb;
const DATA_SEGMENTS = ['ds', 'es', 'fs', 'gs', 'ss'] as const;

/** GDT selectors. The order is the one SYSCALL and SYSRET want: user data below user code. */
const SELECTOR = {
  0: { code: 0x08, data: 0x10 },
  3: { code: 0x23, data: 0x1b },
} as const;

/** The flat GDT that the selectors above index: what the cached segments came from. */
export const GDT_ENTRIES: readonly bigint[] = [
  0n,
  0x00af_9b00_0000_ffffn, // 0x08 code, CPL0, 64-bit
  0x00cf_9300_0000_ffffn, // 0x10 data, CPL0
  0x00cf_f300_0000_ffffn, // 0x18 data, CPL3
  0x00af_fb00_0000_ffffn, // 0x20 code, CPL3, 64-bit
];

const TSS_IO_MAP_BASE = 102;
const TSS_FIXED_BYTES = 104;
/** A bit for each of 65536 ports, and the byte of ones that must follow them. */
const TSS_BYTES = TSS_FIXED_BYTES + 8192 + 1;

/**
 * A 64-bit TSS whose I/O map allows every port at every privilege level. IOPL 3 should be enough
 * for that, but the software KVM this was written on (kvm_pvm, 6.18) runs CPL3 with IOPL 0 whatever
 * KVM_SET_REGS said, and the guest's first OUT would be a #GP.
 */
export function buildTaskStateSegment(): Uint8Array {
  const segment = new Uint8Array(TSS_BYTES);
  segment[TSS_IO_MAP_BASE] = TSS_FIXED_BYTES;
  segment[TSS_BYTES - 1] = 0xff;
  return segment;
}

/** 16-bit real mode with all segments at 0, so that CS:IP = 0000:ip addresses the first 64 KiB. */
export function setRealMode(sregs: ScratchPage): void {
  const flat: Segment = { limit: 0xffff, present: 1, s: 1 };
  setSegment(sregs, 'cs', { ...flat, type: CODE_EXECUTE_READ_ACCESSED });
  for (const name of DATA_SEGMENTS) {
    setSegment(sregs, name, { ...flat, type: DATA_READ_WRITE_ACCESSED });
  }
}

/** Where a CPU begins, in its first code segment. */
export const RESET_IP = 0xfff0;
const RESET_SELECTOR = 0xf000;
const RESET_CODE_BASE = 0xffff_0000;

/** As after a reset: real mode, but code comes from the last 64 KiB below 4 GiB. */
export function setResetVector(sregs: ScratchPage): void {
  setRealMode(sregs);
  setSegment(sregs, 'cs', {
    base: RESET_CODE_BASE,
    limit: 0xffff,
    present: 1,
    s: 1,
    type: CODE_EXECUTE_READ_ACCESSED,
    selector: RESET_SELECTOR,
  });
}

/** 32-bit protected mode without paging, all of memory in every segment: how PVH starts a guest. */
export function setProtectedMode(sregs: ScratchPage): void {
  const flat: Segment = { limit: 0xffff_ffff, present: 1, s: 1, g: 1, db: 1 };
  setSegment(sregs, 'cs', {
    ...flat,
    type: CODE_EXECUTE_READ_ACCESSED,
    selector: SELECTOR[0].code,
  });
  for (const name of DATA_SEGMENTS) {
    setSegment(sregs, name, {
      ...flat,
      type: DATA_READ_WRITE_ACCESSED,
      selector: SELECTOR[0].data,
    });
  }
  setSegment(sregs, 'tr', { limit: 0x67, type: TSS_BUSY_32_BIT, present: 1 });
  setSegment(sregs, 'ldt', { unusable: 1 });
  sregs.setU64(kvm_sregs.offset.cr0, X86_CR0_PE + X86_CR0_ET);
  sregs.setU64(kvm_sregs.offset.cr4, 0);
}

/**
 * 64-bit mode with paging on, flat segments, no interrupts and no IDT: an exception shuts the
 * guest down unless its image loads an IDT.
 */
export function setLongMode(
  sregs: ScratchPage,
  privilegeLevel: PrivilegeLevel,
  tables: LongModeTables,
): void {
  const { code, data } = SELECTOR[privilegeLevel];
  const flat: Segment = { limit: 0xffff_ffff, present: 1, s: 1, g: 1, dpl: privilegeLevel };
  setSegment(sregs, 'cs', { ...flat, type: CODE_EXECUTE_READ_ACCESSED, selector: code, l: 1 });
  for (const name of DATA_SEGMENTS) {
    setSegment(sregs, name, { ...flat, type: DATA_READ_WRITE_ACCESSED, selector: data, db: 1 });
  }
  setSegment(sregs, 'tr', {
    base: tables.tssAddress,
    limit: TSS_BYTES - 1,
    type: TSS_BUSY_64_BIT,
    present: 1,
  });
  setSegment(sregs, 'ldt', { unusable: 1 });
  setTable(sregs, kvm_sregs.offset.gdt, tables.gdtAddress, GDT_ENTRIES.length * 8 - 1);
  setTable(sregs, kvm_sregs.offset.idt, 0, 0);
  sregs.setU64(
    kvm_sregs.offset.cr0,
    X86_CR0_PE + X86_CR0_MP + X86_CR0_ET + X86_CR0_NE + X86_CR0_WP + X86_CR0_PG,
  );
  sregs.setU64(kvm_sregs.offset.cr3, tables.pml4Address);
  sregs.setU64(
    kvm_sregs.offset.cr4,
    X86_CR4_PAE + X86_CR4_MCE + X86_CR4_OSFXSR + X86_CR4_OSXMMEXCPT,
  );
  sregs.setU64(kvm_sregs.offset.efer, EFER_LME + EFER_LMA + EFER_NX);
}

function setSegment(sregs: ScratchPage, name: SegmentName, segment: Segment): void {
  const start = kvm_sregs.offset[name];
  const { offset } = kvm_segment;
  sregs.clear(start, kvm_segment.size);
  sregs.setU64(start + offset.base, segment.base ?? 0);
  sregs.u32[(start + offset.limit) >> 2] = segment.limit ?? 0;
  sregs.u16[(start + offset.selector) >> 1] = segment.selector ?? 0;
  for (const field of ['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'] as const) {
    sregs.u8[start + offset[field]] = segment[field] ?? 0;
  }
}

function setTable(sregs: ScratchPage, start: number, base: number, limit: number): void {
  sregs.setU64(start + kvm_dtable.offset.base, base);
  sregs.u16[(start + kvm_dtable.offset.limit) >> 1] = limit;
}
