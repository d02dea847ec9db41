import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../uapi/mman.js';
import { SyscallError } from './errors.js';
import { errno, mmap, mremap, munmap } from './libc.js';

/** An owned mapping of memory; unmapped by `close()`, which may be called twice. */
export class Mapping implements Disposable {
  readonly address: number;
  readonly bytes: number;
  private open = true;

  private constructor(address: number, bytes: number) {
    this.address = address;
    this.bytes = bytes;
  }

  /**
   * mmap at an address of the kernel's choice.
   *
   * @param hint says what to do when it fails
   * @throws SyscallError
   */
  static create(
    bytes: number,
    prot: number,
    flags: number,
    fd: number,
    offset = 0,
    hint = 'Ask for less memory.',
  ): Mapping {
    const address = mmap(0, bytes, prot, flags, fd, offset);
    if (address === -1) {
      throw new SyscallError(`mmap of ${bytes} bytes`, errno(), hint);
    }
    return new Mapping(address, bytes);
  }

  /**
   * The same at an address that is a multiple of `alignment`, a power of two. Only then can huge
   * pages of that size be mapped in it.
   */
  static aligned(
    bytes: number,
    alignment: number,
    prot: number,
    flags: number,
    fd: number,
    hint?: string,
  ): Mapping {
    using room = Mapping.reserve(bytes + alignment);
    const address = Math.ceil(room.address / alignment) * alignment;
    room.keep(address, bytes);
    const mapped = mmap(address, bytes, prot, flags | MAP_FIXED, fd, 0);
    if (mapped === -1) {
      const error = errno();
      munmap(address, bytes);
      throw new SyscallError(`mmap of ${bytes} bytes`, error, hint ?? 'Ask for less memory.');
    }
    return new Mapping(address, bytes);
  }

  /** A second mapping of the same shared memory, aligned likewise: for memory that has no file. */
  duplicate(alignment: number): Mapping {
    using room = Mapping.reserve(this.bytes + alignment);
    const address = Math.ceil(room.address / alignment) * alignment;
    room.keep(address, this.bytes);
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    if (mremap(this.address, 0, this.bytes, flags, address) === -1) {
      const error = errno();
      munmap(address, this.bytes);
      throw new SyscallError(`mremap of ${this.bytes} bytes`, error, 'Ask for less memory.');
    }
    return new Mapping(address, this.bytes);
  }

  /** Address space without memory behind it. */
  static reserve(bytes: number): Mapping {
    return Mapping.create(bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  }

  /** Unmaps all but a part, which is somebody else's from now on. */
  private keep(address: number, bytes: number): void {
    this.open = false;
    const end = address + bytes;
    if (address > this.address) {
      munmap(this.address, address - this.address);
    }
    if (end < this.address + this.bytes) {
      munmap(end, this.address + this.bytes - end);
    }
  }

  /** Private zeroed memory for arguments and buffers. */
  static scratch(bytes: number): Mapping {
    return Mapping.create(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  }

  close(): void {
    if (this.open) {
      this.open = false;
      munmap(this.address, this.bytes);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
