import { UnsupportedError } from '../../ffi/errors.js';
import { errno, madvise } from '../../ffi/libc.js';
import { MADV_POPULATE_READ } from '../../uapi/mman.js';
import { GuestMemory } from '../guest-memory.js';
import { type CallTarget, makeCall } from './calls.js';
import { type Lock, lockOnFault } from './lock.js';
import { type NoStamp, StampedPages } from './stamped-pages.js';
import type { Subject } from './subjects.js';

/** What a page is found to hold: what the guest wrote, what the file held under it, … */
export type Contents = 'guest' | 'file' | 'zeroes' | NoStamp;

const GUEST = 0x67;
const FILE = 0x66;

/**
 * Guest memory for one experiment, thrown away after it:
 *
 * ```
 *              page 0      page 1
 *   guest     |guest data |never touched|    of a private mapping: a copy of its own
 *   file      |file data  |a hole       |    of a shared mapping: the guest's data
 * ```
 */
export class Specimen implements Disposable {
  readonly memory: GuestMemory;
  private readonly pages: StampedPages;

  private constructor(memory: GuestMemory, pageBytes: number) {
    this.memory = memory;
    this.pages = new StampedPages(pageBytes);
  }

  /** @throws UnsupportedError, SyscallError */
  static create(subject: Subject, lock: Lock): Specimen {
    const { pageBytes } = subject;
    const memory = GuestMemory.create(subject.backing(), 2 * pageBytes, pageBytes);
    const specimen = new Specimen(memory, pageBytes);
    try {
      const { sharing, alias } = memory.backing;
      if (sharing === 'private' && alias) {
        specimen.pages.stamp(memory.layout.aliasAddress, FILE);
      }
      specimen.pages.stamp(memory.layout.guestAddress, GUEST);
      if (lock === 'mlocked') {
        // Locking hugetlb memory faults it in: the page that nobody touches is left out.
        lockOnFault(memory.layout.guestAddress, memory.backing.hugetlb ? pageBytes : 2 * pageBytes);
      }
      return specimen;
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  /** Both pages: what the calls are made on. */
  get target(): CallTarget {
    const { guestAddress, fd, bytes } = this.memory.layout;
    return { address: guestAddress, fd, bytes };
  }

  get pageBytes(): number {
    return this.pages.pageBytes;
  }

  /** Address of a page in the guest mapping. */
  page(index: 0 | 1): number {
    return this.memory.layout.guestAddress + index * this.pageBytes;
  }

  /**
   * Punches the file under a private mapping, so that the guest's copy is all there is.
   *
   * @throws UnsupportedError where there is no such copy, or it goes with the file's page
   */
  emptyFile(): void {
    const { sharing, alias } = this.memory.backing;
    const isCopy = sharing === 'private' && alias;
    if (!isCopy || makeCall('PUNCH_HOLE', this.target) !== 0 || this.guestReads() !== 'guest') {
      throw new UnsupportedError('this memory has no pages that outlive the page of their file');
    }
  }

  /** Reads a byte of a page. An errno, or 0. */
  touch(index: 0 | 1): number {
    return this.pages.touch(this.page(index));
  }

  /** Writes a byte of a page. An errno, or 0. */
  touchToWrite(index: 0 | 1): number {
    return this.pages.touchToWrite(this.page(index));
  }

  /** Has the kernel fault a page in. An errno, or 0: EHWPOISON for a poison marker. Linux 5.14. */
  populate(index: 0 | 1): number {
    return madvise(this.page(index), this.pageBytes, MADV_POPULATE_READ) < 0 ? errno() : 0;
  }

  /** What the guest reads in page 0. */
  guestReads(): Contents {
    return this.contents(this.page(0));
  }

  /** What the file holds there; null where it cannot be looked into. */
  fileReads(): Contents | null {
    return this.memory.backing.alias ? this.contents(this.memory.layout.aliasAddress) : null;
  }

  private contents(address: number): Contents {
    const stamp = this.pages.stampOf(address);
    switch (stamp) {
      case GUEST:
        return 'guest';
      case FILE:
        return 'file';
      case 0:
        return 'zeroes';
      case 'unreadable':
        return stamp;
      default:
        return 'other';
    }
  }

  close(): void {
    this.memory.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
