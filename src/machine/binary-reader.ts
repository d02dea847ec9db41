import { UsageError } from '../ffi/errors.js';

/**
 * Bounds-checked little-endian reads of an image, which is untrusted: whatever cannot be used is
 * refused with the name of the field.
 */
export class BinaryReader {
  private readonly view: DataView;

  /** @param kind what the file is taken for, as `ELF file` */
  constructor(
    private readonly file: Uint8Array,
    private readonly path: string,
    private readonly kind: string,
  ) {
    this.view = new DataView(file.buffer, file.byteOffset, file.length);
  }

  get bytes(): number {
    return this.file.length;
  }

  u8(at: number, field: string): number {
    return this.view.getUint8(this.check(at, 1, field));
  }

  u16(at: number, field: string): number {
    return this.view.getUint16(this.check(at, 2, field), true);
  }

  u32(at: number, field: string): number {
    return this.view.getUint32(this.check(at, 4, field), true);
  }

  /** An address or size: refused, not rounded, above 2^53. */
  u64(at: number, field: string): number {
    const value = this.view.getBigUint64(this.check(at, 8, field), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      this.fail(`${field} is 0x${value.toString(16)}, which is out of range`);
    }
    return Number(value);
  }

  slice(at: number, bytes: number, field: string): Uint8Array {
    return this.file.subarray(this.check(at, bytes, field), at + bytes);
  }

  expect(value: number, wanted: number, field: string): void {
    if (value !== wanted) {
      this.fail(`${field} is ${value}, not ${wanted}`);
    }
  }

  /** @throws UsageError always */
  fail(why: string): never {
    throw new UsageError(`image ${this.path} is not a usable ${this.kind}: ${why}`);
  }

  private check(at: number, bytes: number, field: string): number {
    if (at + bytes > this.file.length) {
      this.fail(`${field} points behind the end of the file`);
    }
    return at;
  }
}
