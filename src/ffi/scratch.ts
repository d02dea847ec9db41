import koffi from 'koffi';

/**
 * Memory for ioctl arguments: its address is taken once, so that passing a struct to the kernel
 * costs stores into typed arrays and nothing else (koffi's own struct marshalling costs a
 * microsecond). It is an ArrayBuffer of this thread, freed with it. Offsets are bytes from the
 * start and must be aligned to the access.
 */
export class ScratchPage {
  readonly address: number;
  readonly bytes: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly s32: Int32Array;

  constructor(bytes = 4096) {
    const buffer = new ArrayBuffer(bytes);
    this.address = Number(koffi.address(buffer));
    this.bytes = bytes;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.s32 = new Int32Array(buffer);
  }

  /** Zeroes `length` bytes from `offset`: reserved fields must be 0. */
  clear(offset: number, length: number): void {
    this.u8.fill(0, offset, offset + length);
  }

  /** A 64-bit value below 2^53, without a BigInt. Storing a double in a Uint32Array takes it modulo 2^32. */
  setU64(offset: number, value: number): void {
    this.u32[offset >> 2] = value;
    this.u32[(offset >> 2) + 1] = value / 0x1_0000_0000;
  }

  /** A 64-bit value; exact below 2^53. */
  getU64(offset: number): number {
    return this.u32[offset >> 2]! + this.u32[(offset >> 2) + 1]! * 0x1_0000_0000;
  }

  /** A 64-bit value, exact. It allocates. */
  getBigU64(offset: number): bigint {
    return BigInt(this.u32[offset >> 2]!) | (BigInt(this.u32[(offset >> 2) + 1]!) << 32n);
  }

  /** A signed 64-bit value; exact between -2^53 and 2^53. */
  getS64(offset: number): number {
    return this.u32[offset >> 2]! + this.s32[(offset >> 2) + 1]! * 0x1_0000_0000;
  }
}

/**
 * This thread's scratch page for calls that are not on the hot path: an argument lives in it from
 * the store before a call to the read after it, never longer.
 */
export const scratch = new ScratchPage(16384);
