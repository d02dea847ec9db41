import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../uapi/mman.js';
import { SyscallError } from './errors.js';
import { errno, mmap, munmap } from './libc.js';

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
