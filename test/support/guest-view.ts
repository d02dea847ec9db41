/**
 * Guest memory as its guest mapping has it, looked at without touching: page table entries from
 * /proc/self/pagemap, contents by process_vm_readv(2).
 */

import { closeSync, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { process_vm_readv } from '../../src/ffi/libc.js';
import { ProcessMemory } from '../../src/ffi/process-memory.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { eachAbsentRange } from '../../src/memory/absent-pages.js';
import { iovec } from '../../src/uapi/uio.js';

const { EFAULT } = constants.errno;
const PAGE = 4096;
/** UIO_MAXIOV: the most pages that one call reads of. */
const MOST_VECTORS = 1024;
/** Bytes read of each page by {@link GuestView.sample}. */
export const SAMPLE_BYTES = 64;

export class GuestView implements Disposable {
  private readonly pagemap = openSync('/proc/self/pagemap', 'r');
  private readonly entries: Buffer;
  private readonly vectors = new ScratchPage((MOST_VECTORS + 1) * iovec.size);
  private readonly samples: ScratchPage;
  private readonly memory: ProcessMemory;

  constructor(
    private readonly address: number,
    pages: number,
  ) {
    this.entries = Buffer.alloc(pages * 8);
    this.samples = new ScratchPage(pages * SAMPLE_BYTES);
    this.memory = new ProcessMemory(pages * PAGE);
  }

  /** Looks at the page table, for {@link isPresent}. */
  look(): void {
    readSync(this.pagemap, this.entries, 0, this.entries.length, (this.address / PAGE) * 8);
  }

  /** Whether the page was mapped when it was last looked. */
  isPresent(page: number): boolean {
    return this.entries[page * 8 + 7]! >= 0x80;
  }

  /** Pages that have neither a page nor a marker. /proc/self/pagemap does not show those of hugetlb. */
  absentPages(): number {
    let bytes = 0;
    eachAbsentRange(this.address, this.entries.length * (PAGE / 8), (_, length) => {
      bytes += length;
    });
    return bytes / PAGE;
  }

  /**
   * Some bytes of each of the pages given, at the same offset, one after another: cheap enough to be
   * done for every page after every step. Null where one of them cannot be read.
   */
  sample(pages: readonly number[], offset: number): Uint8Array | null {
    const { iov_base, iov_len } = iovec.offset;
    for (let done = 0; done < pages.length; done += MOST_VECTORS) {
      const part = pages.slice(done, done + MOST_VECTORS);
      const bytes = part.length * SAMPLE_BYTES;
      this.vectors.setU64(iov_base, this.samples.address + done * SAMPLE_BYTES);
      this.vectors.setU64(iov_len, bytes);
      part.forEach((page, index) => {
        const vector = (1 + index) * iovec.size;
        this.vectors.setU64(vector + iov_base, this.address + page * PAGE + offset);
        this.vectors.setU64(vector + iov_len, SAMPLE_BYTES);
      });
      const { address } = this.vectors;
      const remote = address + iovec.size;
      const read = process_vm_readv(process.pid, address, 1, remote, part.length, 0);
      if (read !== bytes) {
        return null;
      }
    }
    return this.samples.u8.subarray(0, pages.length * SAMPLE_BYTES);
  }

  /** The bytes of a range, until the next call; an errno where they cannot be had. */
  read(offset: number, bytes: number): Uint8Array | number {
    const error = this.memory.tryRead(this.address + offset, bytes);
    return error === 0 ? this.memory.buffer.u8.subarray(0, bytes) : error;
  }

  /** Stores as a guest would. Returns an errno, or 0. */
  write(offset: number, data: Uint8Array): number {
    this.memory.buffer.u8.set(data);
    return this.memory.tryWrite(this.address + offset, data.length);
  }

  /** Whether a touch of the page is an error: only of memory in which nothing sleeps. */
  fails(page: number): boolean {
    return this.memory.tryRead(this.address + page * PAGE, 1) === EFAULT;
  }

  [Symbol.dispose](): void {
    closeSync(this.pagemap);
  }
}
