/**
 * Guest memory as a vCPU finds it, but looked at by process_vm_readv: a page that traps is EFAULT
 * there, where an access from JavaScript would end the process. For memory of trap markers only.
 */
import { errnoName } from '../../src/ffi/errors.js';
import { ProcessMemory } from '../../src/ffi/process-memory.js';
import type { GuestMemoryLayout } from '../../src/memory/guest-memory.js';
import { PAGE, SOURCE } from './trapped-memory.js';

export class GuestPages {
  private readonly memory = new ProcessMemory(PAGE);

  constructor(private readonly layout: GuestMemoryLayout) {}

  /**
   * What a page holds: `source` (what the source supplies, every word of it), `zeroes`, `other`, or
   * the name of the error that looking at it gave.
   */
  page(page: number): string {
    const error = this.memory.tryRead(this.layout.guestAddress + page * PAGE, PAGE);
    if (error !== 0) {
      return errnoName(error);
    }
    const words = this.memory.buffer.s32;
    if (SOURCE.compare(page, words, 0) === -1) {
      return 'source';
    }
    return words.every((word) => word === 0) ? 'zeroes' : 'other';
  }

  /** What all pages of a unit hold, each kind once. */
  unit(unit: number): string {
    const pages = this.layout.unitBytes / PAGE;
    const found = Array.from({ length: pages }, (_, page) => this.page(unit * pages + page));
    return [...new Set(found)].join();
  }

  /** The same for every unit. */
  units(): string[] {
    const count = this.layout.bytes / this.layout.unitBytes;
    return Array.from({ length: count }, (_, unit) => this.unit(unit));
  }

  /** A copy of `length` bytes, a page at most. Throws where they cannot be had. */
  bytes(offset: number, length: number): Uint8Array {
    this.memory.read(this.layout.guestAddress + offset, length);
    return this.memory.buffer.u8.slice(0, length);
  }

  /** Writes as the guest does. Throws where it would trap. */
  write(offset: number, data: Uint8Array): void {
    this.memory.buffer.u8.set(data);
    this.memory.write(this.layout.guestAddress + offset, data.length);
  }
}
