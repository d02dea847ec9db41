import { iovec } from '../uapi/uio.js';
import { SyscallError } from './errors.js';
import { errno, process_vm_readv, process_vm_writev } from './libc.js';
import { ScratchPage } from './scratch.js';

/**
 * Memory of this process that JavaScript must not touch, reached by process_vm_readv(2) and
 * process_vm_writev(2): the kernel copies, and gives an error where an access would be SIGBUS. A
 * missing page that userfaultfd waits for makes it sleep.
 */
export class ProcessMemory {
  /** What is copied from and to. */
  readonly buffer: ScratchPage;
  private readonly vectors = new ScratchPage(2 * iovec.size);

  constructor(bufferBytes: number) {
    this.buffer = new ScratchPage(bufferBytes);
  }

  /**
   * Copies `bytes` bytes at `address` to the start of the buffer.
   *
   * @throws SyscallError
   */
  read(address: number, bytes: number): void {
    const error = this.tryRead(address, bytes);
    if (error !== 0) {
      throw new SyscallError(`process_vm_readv at 0x${address.toString(16)}`, error);
    }
  }

  /**
   * Copies the first `bytes` bytes of the buffer to `address`.
   *
   * @throws SyscallError
   */
  write(address: number, bytes: number): void {
    const error = this.tryWrite(address, bytes);
    if (error !== 0) {
      throw new SyscallError(`process_vm_writev at 0x${address.toString(16)}`, error);
    }
  }

  /** As {@link read}; an errno, or 0. */
  tryRead(address: number, bytes: number): number {
    return this.transfer(process_vm_readv, address, bytes);
  }

  /** As {@link write}; an errno, or 0. */
  tryWrite(address: number, bytes: number): number {
    return this.transfer(process_vm_writev, address, bytes);
  }

  private transfer(call: typeof process_vm_readv, address: number, bytes: number): number {
    const vectors = this.vectors;
    const buffer = this.buffer;
    for (let done = 0; done < bytes; ) {
      vectors.setU64(iovec.offset.iov_base, buffer.address + done);
      vectors.setU64(iovec.offset.iov_len, bytes - done);
      vectors.setU64(iovec.size + iovec.offset.iov_base, address + done);
      vectors.setU64(iovec.size + iovec.offset.iov_len, bytes - done);
      const copied = call(process.pid, vectors.address, 1, vectors.address + iovec.size, 1, 0);
      if (copied <= 0) {
        return errno();
      }
      done += copied; // short where a page in the middle cannot be had
    }
    return 0;
  }
}
