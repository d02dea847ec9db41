/** Guests for a PC's devices, a few instructions of 64-bit code each, as kernels in a bzImage. */
import { buildBzImage, CODE_BYTES } from './bzimage-builder.js';

/** Where the 64-bit entry point is, from the start of the code. */
const ENTRY = 0x200;

/** mov $port, %dx */
const port = (number: number): number[] => [0x66, 0xba, number & 0xff, number >> 8];
/** mov $count, %ecx */
const times = (count: number): number[] => [
  0xb9,
  ...[0, 8, 16, 24].map((shift) => (count >> shift) & 0xff),
];
/** To the PM1 control register: sleep type 5 and sleep enable. */
const POWER_OFF = [...port(0x604), 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, 0xf4];
/** To the i8042: pulse the reset line. */
export const RESET_BY_I8042 = [...port(0x64), 0xb0, 0xfe, 0xee, 0xf4];
export const RESET_BY_CF9 = [...port(0xcf9), 0xb0, 0x06, 0xee, 0xf4];
/** lidt of nothing, then int3: nobody to answer that, nor the fault about it. */
export const TRIPLE_FAULT = [
  ...[0x6a, 0x00, 0x6a, 0x00], // push 0, twice
  ...[0x0f, 0x01, 0x1c, 0x24], // lidt (%rsp)
  ...[0x0f, 0x0b], // ud2
];

/** Runs code in 64-bit mode at CPL0. */
export function pcGuest(code: readonly number[]): Uint8Array {
  const file = buildBzImage();
  file.set(code, file.length - CODE_BYTES + ENTRY);
  return file;
}

/** Writes so many bytes to the serial port, which count down, and switches the machine off. */
export const printer = (bytes: number): Uint8Array =>
  pcGuest([
    ...port(0x3f8),
    ...times(bytes),
    ...[0x88, 0xc8, 0xee, 0xe2, 0xfb], // mov %cl, %al; out; loop
    ...POWER_OFF,
  ]);

/** Writes what it reads from the serial port, so many bytes, and switches the machine off. */
export const echo = (bytes: number): Uint8Array =>
  pcGuest([
    ...[...port(0x3fc), 0xb0, 0x03, 0xee], // it listens
    ...times(bytes),
    ...[...port(0x3fd), 0xec, 0xa8, 0x01, 0x74, 0xf7], // until there is a byte
    ...[...port(0x3f8), 0xec, 0xee, 0xe2, 0xef], // in; out; loop
    ...POWER_OFF,
  ]);

/** Of the file of {@link printer}: what it writes. */
export const printed = (bytes: number): Buffer =>
  Buffer.from(Array.from({ length: bytes }, (_, at) => (bytes - at) & 0xff));
