import koffi from 'koffi';
import { DefectError } from './errors.js';

/** The longest window: koffi.view aborts the process above 4 GiB; 1 GiB keeps word indexes small. */
export const WINDOW_BYTES = 2 ** 30;

/**
 * The memory at `address` as an ArrayBuffer. It does not own the memory: whoever unmaps it must
 * have dropped every view before. Creating one costs microseconds; never do it per fault.
 *
 * @param address a mapped address below 2^53
 * @param bytes 1 to {@link WINDOW_BYTES}
 */
export function viewOf(address: number, bytes: number): ArrayBuffer {
  if (!Number.isSafeInteger(address) || address <= 0 || bytes <= 0 || bytes > WINDOW_BYTES) {
    throw new DefectError(`cannot view ${bytes} bytes at address ${address}`);
  }
  return koffi.view(BigInt(address), bytes) as ArrayBuffer;
}

/** A mapped range of any size, seen through consecutive windows of 32-bit words. */
export class WindowedMemory {
  readonly address: number;
  readonly bytes: number;
  /** Window k covers bytes [k * WINDOW_BYTES, (k + 1) * WINDOW_BYTES). */
  readonly words: readonly Int32Array[];

  /** @param bytes a multiple of 4 */
  constructor(address: number, bytes: number) {
    this.address = address;
    this.bytes = bytes;
    const words: Int32Array[] = [];
    for (let start = 0; start < bytes; start += WINDOW_BYTES) {
      words.push(new Int32Array(viewOf(address + start, Math.min(WINDOW_BYTES, bytes - start))));
    }
    this.words = words;
  }

  /** Copies `data` to `offset`; both may span windows. */
  write(offset: number, data: Uint8Array): void {
    this.eachSpan(offset, data.length, (bytes, done) => {
      bytes.set(data.subarray(done, done + bytes.length));
    });
  }

  /** A copy of `length` bytes at `offset`. */
  read(offset: number, length: number): Uint8Array {
    const data = new Uint8Array(length);
    this.eachSpan(offset, length, (bytes, done) => data.set(bytes, done));
    return data;
  }

  /** Fills `length` bytes at `offset` with `value`. */
  fill(offset: number, length: number, value: number): void {
    this.eachSpan(offset, length, (bytes) => bytes.fill(value));
  }

  private eachSpan(
    offset: number,
    length: number,
    visit: (bytes: Uint8Array, done: number) => void,
  ): void {
    if (offset < 0 || length < 0 || offset + length > this.bytes) {
      throw new RangeError(`bytes ${offset} to ${offset + length} lie outside ${this.bytes}`);
    }
    for (let done = 0; done < length; ) {
      const start = (offset + done) % WINDOW_BYTES;
      const span = Math.min(length - done, WINDOW_BYTES - start);
      const window = this.words[Math.floor((offset + done) / WINDOW_BYTES)]!;
      visit(new Uint8Array(window.buffer, window.byteOffset + start, span), done);
      done += span;
    }
  }
}
