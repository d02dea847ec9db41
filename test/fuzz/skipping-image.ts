/**
 * A 64-bit image whose code goes on behind an instruction that faults, so that random code does more
 * than its first: every exception handler returns one byte further on.
 *
 * ```
 *   0x100000  set-up, at CPL0     0x102000  IDT
 *   0x100800  the code            0x103000  data, zero
 *   0x101000  handlers            0x105000  end of the stacks, spare pages
 * ```
 */
import { buildElf, buildNote } from '../support/elf-builder.js';
import { type Bytes, little } from './machine-code.js';

export const CODE_ADDRESS = 0x100800;
export const CODE_ROOM = 0x800;
export const DATA_ADDRESS = 0x103000;
/** Eight of them, zero, for tables of the code's own. */
export const SPARE_PAGES = 0x105000;
export const DATA_END = 0x10d000;
const BASE = 0x100000;
const HANDLERS = 0x101000;
const IDT = 0x102000;
const STACK_END = SPARE_PAGES;
const DESCRIPTOR = 0x100200;
/** Exceptions that push an error code. */
const WITH_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);
const HANDLER_BYTES = 16;
/** TSS.RSP0, in the TSS that the VMM has made. */
const RSP0 = 0x9004;

const handler = (vector: number): Bytes => [
  ...(WITH_CODE.has(vector) ? [0x48, 0x83, 0xc4, 0x08] : []), // add $8, %rsp
  ...[0x48, 0xff, 0x04, 0x24], // incq (%rsp)
  ...[0x48, 0xcf], // iretq
];

/** Present, DPL3, interrupt gate, at CPL0. */
const gate = (vector: number): Bytes => {
  const address = HANDLERS + vector * HANDLER_BYTES;
  return [
    ...little(address, 2),
    ...little(0x08, 2),
    ...[0, 0xee],
    ...little(address >> 16, 2),
    ...little(0, 8),
  ];
};

/** @param code runs at CODE_ADDRESS, at CPL `level` */
export function skippingExceptions(code: Bytes, level: 0 | 3): Uint8Array {
  const image = new Uint8Array(IDT + 4096 - BASE);
  const put = (address: number, bytes: Bytes): void => image.set(bytes, address - BASE);
  const [codeSelector, dataSelector] = level === 3 ? [0x23, 0x1b] : [0x08, 0x10];
  put(BASE, [
    ...[0x0f, 0x01, 0x1c, 0x25, ...little(DESCRIPTOR, 4)], // lidt
    ...[0x48, 0xc7, 0x04, 0x25, ...little(RSP0, 4), ...little(STACK_END, 4)], // movq $…, RSP0
    ...[0x48, 0xc7, 0xc4, ...little(STACK_END - 0x800, 4)], // mov $…, %rsp
    ...[0x6a, dataSelector], // push: SS
    ...[0x68, ...little(STACK_END - 0x400, 4)], // push: RSP
    ...[0x68, ...little(0x3002, 4)], // push: RFLAGS, IOPL 3
    ...[0x6a, codeSelector], // push: CS
    ...[0x68, ...little(CODE_ADDRESS, 4)], // push: RIP
    ...[0x48, 0xcf], // iretq
  ]);
  put(DESCRIPTOR, [...little(4095, 2), ...little(IDT, 8)]);
  put(CODE_ADDRESS, [...code.slice(0, CODE_ROOM - 1), 0xf4]);
  for (let vector = 0; vector < 256; vector++) {
    put(HANDLERS + vector * HANDLER_BYTES, handler(vector));
    put(IDT + vector * 16, gate(vector));
  }
  return buildElf({ code: image, note: buildNote({ level: 0 }), p_memsz: BigInt(DATA_END - BASE) });
}
