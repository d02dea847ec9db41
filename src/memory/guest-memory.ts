import { freemem, totalmem } from 'node:os';
import { SyscallError, UnsupportedError } from '../ffi/errors.js';
import { errno, madvise } from '../ffi/libc.js';
import { Mapping } from '../ffi/mapping.js';
import { ResourceStack } from '../ffi/resource-stack.js';
import { WindowedMemory } from '../ffi/view.js';
import { MADV_NOHUGEPAGE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../uapi/mman.js';
import type { Backing } from './backing.js';
import { PageStates } from './page-states.js';

/** What a worker needs to attach to guest memory: numbers and shared buffers only. */
export interface GuestMemoryLayout {
  /** Bytes of guest RAM; guest physical addresses are 0 to this. */
  readonly bytes: number;
  /** Bytes per fault unit, a power of two. */
  readonly unitBytes: number;
  /** Start of the guest mapping: KVM's, registered with userfaultfd, never touched by JavaScript. */
  readonly guestAddress: number;
  /** Start of the alias mapping of the same file: where pages are filled and inspected. */
  readonly aliasAddress: number;
  /** One {@link PageStates} word per unit. */
  readonly states: SharedArrayBuffer;
}

/**
 * Guest RAM as the main thread owns it: the backing's file and its two mappings.
 *
 * ```
 *   guest mapping   |....####..#.....|   memslot 0; missing pages trap
 *                        |     |
 *   file            |....####..#.....|   a page exists once it was filled
 *                        |     |
 *   alias mapping   |....####..#.....|   ours: fill, inspect
 * ```
 */
export class GuestMemory implements Disposable {
  readonly backing: Backing;
  readonly layout: GuestMemoryLayout;
  readonly alias: WindowedMemory;
  readonly states: PageStates;
  private readonly owned: ResourceStack;

  private constructor(backing: Backing, layout: GuestMemoryLayout, owned: ResourceStack) {
    this.backing = backing;
    this.layout = layout;
    this.owned = owned;
    this.alias = new WindowedMemory(layout.aliasAddress, layout.bytes);
    this.states = new PageStates(layout.states);
  }

  /**
   * @param bytes a multiple of `unitBytes`
   * @throws UnsupportedError when the host has not that much memory
   */
  static create(backing: Backing, bytes: number, unitBytes: number): GuestMemory {
    if (bytes > totalmem()) {
      throw new UnsupportedError(
        `${bytes / 2 ** 20} MiB of guest memory is more than this host has (${Math.floor(totalmem() / 2 ** 20)} MiB, ${Math.floor(freemem() / 2 ** 20)} MiB free)`,
        'Ask for less with --memory.',
      );
    }
    using stack = new ResourceStack();
    const file = stack.use(backing.open(bytes));
    const map = (): Mapping =>
      stack.use(Mapping.create(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd));
    const guest = map();
    const alias = map();
    // khugepaged may drop trap markers when it retracts page tables of ranges registered for
    // minor faults alone (6.18), and a huge page in the file would make neighbours resident.
    for (const mapping of [guest, alias]) {
      if (madvise(mapping.address, bytes, MADV_NOHUGEPAGE) < 0) {
        throw new SyscallError('madvise(MADV_NOHUGEPAGE)', errno());
      }
    }
    const layout: GuestMemoryLayout = {
      bytes,
      unitBytes,
      guestAddress: guest.address,
      aliasAddress: alias.address,
      states: PageStates.allocate(bytes / unitBytes),
    };
    return new GuestMemory(backing, layout, stack.move());
  }

  close(): void {
    this.owned.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
