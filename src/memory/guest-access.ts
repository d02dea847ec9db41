import { readFileSync } from 'node:fs';
import { ProcessMemory } from '../ffi/process-memory.js';
import { WINDOW_BYTES, WindowedMemory } from '../ffi/view.js';
import type { GuestMemoryLayout } from './guest-memory.js';
import { PAGE_BYTES } from './sizes.js';

/**
 * Guest memory as this thread may look at it and change it, whether there is an alias mapping or
 * not. For mapped units only: nothing else keeps a page of zeroes from being made, or the call from
 * sleeping. Offsets are guest physical addresses. Where the kernel does the copying a call may throw
 * a SyscallError: EFAULT for a page that is not there (any more).
 */
export interface GuestAccess {
  /**
   * The words of `page` (GPA / 4096), for as long as nothing else is asked of this object.
   *
   * @returns the window they lie in and the index of the first
   */
  view(page: number): { readonly words: Int32Array; readonly first: number };
  /** A copy of `length` bytes. */
  read(offset: number, length: number): Uint8Array;
  write(offset: number, data: Uint8Array): void;
}

export function openAccess(memory: GuestMemoryLayout): GuestAccess {
  const { backing, aliasAddress, guestAddress } = memory;
  if (backing.inspect === 'guest') {
    return new CopyingAccess(guestAddress);
  }
  const mayBeLost = backing.truncatable || memoryHasFailed();
  return mayBeLost ? new CopyingAccess(aliasAddress) : new AliasAccess(memory);
}

/**
 * Whether frames of this machine have failed since it was started: touching one is SIGBUS, which
 * ends the process. False where the kernel does not deal with that (CONFIG_MEMORY_FAILURE).
 */
function memoryHasFailed(): boolean {
  let text: string;
  try {
    text = readFileSync('/proc/meminfo', 'utf8');
  } catch {
    return true; // no descriptor for it: the careful way is right in any case
  }
  const [, kilobytes] = /^HardwareCorrupted:\s+(\d+) kB$/m.exec(text) ?? [];
  return Number(kilobytes ?? 0) > 0;
}

class AliasAccess implements GuestAccess {
  private readonly alias: WindowedMemory;

  constructor({ aliasAddress, bytes }: GuestMemoryLayout) {
    this.alias = new WindowedMemory(aliasAddress, bytes);
  }

  view(page: number): { words: Int32Array; first: number } {
    const address = page * PAGE_BYTES;
    const words = this.alias.words[Math.floor(address / WINDOW_BYTES)]!;
    return { words, first: (address % WINDOW_BYTES) / 4 };
  }

  read(offset: number, length: number): Uint8Array {
    return this.alias.read(offset, length);
  }

  write(offset: number, data: Uint8Array): void {
    this.alias.write(offset, data);
  }
}

/** Copied at a time. */
const BUFFER_BYTES = 16 * PAGE_BYTES;

class CopyingAccess implements GuestAccess {
  private readonly memory = new ProcessMemory(BUFFER_BYTES);

  constructor(private readonly address: number) {}

  view(page: number): { words: Int32Array; first: number } {
    this.memory.read(this.address + page * PAGE_BYTES, PAGE_BYTES);
    return { words: this.memory.buffer.s32, first: 0 };
  }

  read(offset: number, length: number): Uint8Array {
    const data = new Uint8Array(length);
    for (let done = 0; done < length; done += BUFFER_BYTES) {
      const part = Math.min(BUFFER_BYTES, length - done);
      this.memory.read(this.address + offset + done, part);
      data.set(this.memory.buffer.u8.subarray(0, part), done);
    }
    return data;
  }

  write(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; done += BUFFER_BYTES) {
      const part = data.subarray(done, done + BUFFER_BYTES);
      this.memory.buffer.u8.set(part);
      this.memory.write(this.address + offset + done, part.length);
    }
  }
}
