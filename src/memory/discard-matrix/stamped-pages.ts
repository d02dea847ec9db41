import { ProcessMemory } from '../../ffi/process-memory.js';
import { PAGE_BYTES } from '../sizes.js';

/** What reading a stamp gives that is none: pages of different bytes, or an error. */
export type NoStamp = 'other' | 'unreadable';

/**
 * Writes bytes into pages, and looks for them again. A page is stamped in its first and last 4 KiB;
 * a huge page stays as it is in between.
 *
 * Everything goes by process_vm_readv(2) and process_vm_writev(2): what cannot be had is an errno,
 * not a signal.
 */
export class StampedPages {
  readonly pageBytes: number;
  private readonly memory = new ProcessMemory(PAGE_BYTES);

  constructor(pageBytes: number) {
    this.pageBytes = pageBytes;
  }

  /** @throws SyscallError */
  stamp(address: number, byte: number): void {
    this.memory.buffer.u8.fill(byte);
    for (const part of this.parts(address)) {
      this.memory.write(part, PAGE_BYTES);
    }
  }

  /** The byte that fills both ends of the page. */
  stampOf(address: number): number | NoStamp {
    const [first, last] = this.parts(address).map((part) => {
      if (this.memory.tryRead(part, PAGE_BYTES) !== 0) {
        return 'unreadable';
      }
      const { u8 } = this.memory.buffer;
      return u8.every((byte) => byte === u8[0]) ? u8[0]! : 'other';
    });
    return first === last ? first! : 'other';
  }

  /** Reads one byte, as a guest would. An errno, or 0. */
  touch(address: number): number {
    return this.memory.tryRead(address, 1);
  }

  /** Writes one byte. An errno, or 0. */
  touchToWrite(address: number): number {
    return this.memory.tryWrite(address, 1);
  }

  private parts(address: number): readonly number[] {
    return [address, address + this.pageBytes - PAGE_BYTES];
  }
}
