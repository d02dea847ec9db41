import { freemem, totalmem } from 'node:os';
import type { Descriptor } from '../ffi/descriptor.js';
import { SyscallError, UnsupportedError } from '../ffi/errors.js';
import { errno, madvise } from '../ffi/libc.js';
import { Mapping } from '../ffi/mapping.js';
import { ResourceStack } from '../ffi/resource-stack.js';
import {
  MADV_NOHUGEPAGE,
  MAP_ANONYMOUS,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../uapi/mman.js';
import type { Backing, BackingTraits } from './backing.js';
import { MemoryChanges } from './changes.js';
import { availablePages, growCommand, type HugetlbPool, readHugetlbPool } from './hugetlb-pool.js';
import { openBacking } from './open-backing.js';
import { PageStates } from './page-states.js';
import { leaveResident, rangesOf, type UnitRange } from './resident-units.js';
import { HUGE_PAGE_BYTES } from './sizes.js';
import type { Trap } from './trap.js';

/** What a worker needs to attach to guest memory: plain data and shared buffers only. */
export interface GuestMemoryLayout {
  /** Bytes of guest RAM; guest physical addresses are 0 to this. */
  readonly bytes: number;
  /** Bytes per fault unit, a power of two. */
  readonly unitBytes: number;
  readonly backing: BackingTraits;
  /** Start of the guest mapping: KVM's, registered with userfaultfd, never touched by JavaScript. */
  readonly guestAddress: number;
  /** Start of the alias mapping of the same file: where pages are filled. 0 where there is none. */
  readonly aliasAddress: number;
  /** The file's descriptor, or -1. */
  readonly fd: number;
  /** One {@link PageStates} word per unit. */
  readonly states: SharedArrayBuffer;
  /** See {@link MemoryChanges}. */
  readonly changes: SharedArrayBuffer;
  /** One 32-bit word per block of 2 MiB: see collapse.ts. */
  readonly collapsed: SharedArrayBuffer;
  /** Units that never are missing and are not trapped, in order: see resident-units.ts. */
  readonly resident: UnitRange[];
  /** Units of the image and its tables, resident or not: the guest writes to them, so none is discarded. */
  readonly image: UnitRange[];
}

/** What a hugetlb backing took from its pool. */
export interface HugetlbReport {
  readonly pageBytes: number;
  /** Pages that the guest's memory needs. */
  readonly wanted: number;
  /** Before the memory was created, and after. */
  readonly before: HugetlbPool;
  readonly created: HugetlbPool;
}

export interface GuestMemoryOptions {
  /**
   * Whether a hugetlb backing reserves its pages at once (the default). Without, the pool can run dry
   * while the guest runs, which is then a memory error.
   */
  readonly reserve?: boolean;
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
 *
 * Memory whose pages belong to the guest mapping alone has no alias mapping (see {@link Backing}).
 */
export class GuestMemory implements Disposable {
  readonly backing: Backing;
  readonly layout: GuestMemoryLayout;
  readonly states: PageStates;
  /** Null but for hugetlb. */
  readonly hugetlb: HugetlbReport | null;
  private readonly owned: ResourceStack;

  private constructor(
    backing: Backing,
    layout: GuestMemoryLayout,
    hugetlb: HugetlbReport | null,
    owned: ResourceStack,
  ) {
    this.backing = backing;
    this.layout = layout;
    this.hugetlb = hugetlb;
    this.owned = owned;
    this.states = new PageStates(layout.states);
  }

  /**
   * @param bytes a multiple of `unitBytes`
   * @throws UnsupportedError when the host has not that much memory, or not enough hugetlb pages
   */
  static create(
    backing: Backing,
    bytes: number,
    unitBytes: number,
    { reserve = true }: GuestMemoryOptions = {},
  ): GuestMemory {
    if (bytes > totalmem()) {
      throw new UnsupportedError(
        `${bytes / 2 ** 20} MiB of guest memory is more than this host has (${Math.floor(totalmem() / 2 ** 20)} MiB, ${Math.floor(freemem() / 2 ** 20)} MiB free)`,
        'Ask for less with --memory.',
      );
    }
    const { file: _file, description: _description, ...traits } = backing;
    using stack = new ResourceStack();
    const before = backing.hugetlb ? poolOf(backing) : null;
    const file = openBacking(backing, bytes);
    if (file !== null) {
      stack.use(file);
    }
    const { guest, alias } = map(backing, bytes, file, reserve, stack);
    keepHugePagesOut(backing, alias);
    const layout: GuestMemoryLayout = {
      bytes,
      unitBytes,
      backing: traits,
      guestAddress: guest.address,
      aliasAddress: alias?.address ?? 0,
      fd: file?.fd ?? -1,
      states: PageStates.allocate(bytes / unitBytes),
      changes: MemoryChanges.allocate(),
      collapsed: new SharedArrayBuffer(Math.ceil(bytes / HUGE_PAGE_BYTES) * 4),
      resident: [],
      image: [],
    };
    const hugetlb =
      before === null
        ? null
        : {
            pageBytes: backing.pageBytes,
            wanted: bytes / backing.pageBytes,
            before,
            created: poolOf(backing),
          };
    return new GuestMemory(backing, layout, hugetlb, stack.move());
  }

  /** Says which units hold the image, where it is missing as all else. As {@link keepResident}. */
  keepImage(units: Iterable<number>): void {
    this.layout.image.push(...rangesOf(units));
  }

  /**
   * Says that these units of the image, which are mapped, will never be missing. Before other threads
   * are given the layout.
   *
   * @param trap null where nothing is trapped
   */
  keepResident(units: Iterable<number>, trap: Trap | null): void {
    const ranges = rangesOf(units);
    this.layout.image.push(...ranges);
    this.layout.resident.push(...ranges);
    if (trap !== null) {
      leaveResident(this.layout, trap);
    }
  }

  close(): void {
    this.owned.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function map(
  backing: Backing,
  bytes: number,
  file: Descriptor | null,
  reserve: boolean,
  stack: ResourceStack,
): { guest: Mapping; alias: Mapping | null } {
  const alignment = Math.max(backing.pageBytes, HUGE_PAGE_BYTES);
  const anonymous = file === null ? MAP_ANONYMOUS : 0;
  // Private memory is not charged in advance either: a guest may be larger than what is committed.
  const uncharged = backing.hugetlb ? !reserve : backing.sharing === 'private';
  const flags = anonymous | (uncharged ? MAP_NORESERVE : 0);
  const fd = file?.fd ?? -1;
  const create = (sharing: number): Mapping => {
    try {
      return stack.use(
        Mapping.aligned(bytes, alignment, PROT_READ | PROT_WRITE, flags | sharing, fd),
      );
    } catch (error) {
      throw backing.hugetlb ? explainPool(backing, bytes, error) : error;
    }
  };
  const guest = create(backing.sharing === 'shared' ? MAP_SHARED : MAP_PRIVATE);
  if (!backing.alias) {
    return { guest, alias: null };
  }
  const alias = file === null ? stack.use(guest.duplicate(alignment)) : create(MAP_SHARED);
  return { guest, alias };
}

/**
 * A huge page in the file would make the neighbours of a filled page resident (shmem_enabled=always),
 * and khugepaged, working through this mapping, would take page tables from under the guest mapping.
 */
function keepHugePagesOut(backing: Backing, alias: Mapping | null): void {
  if (alias === null || backing.hugetlb || backing.hugeFile) {
    return;
  }
  if (madvise(alias.address, alias.bytes, MADV_NOHUGEPAGE) < 0) {
    throw new SyscallError('madvise(MADV_NOHUGEPAGE)', errno());
  }
}

function poolOf(backing: Backing): HugetlbPool {
  const pool = readHugetlbPool(backing.pageBytes);
  if (pool === null) {
    throw new UnsupportedError(
      `this kernel has no hugetlb pages of ${backing.pageBytes / 2 ** 20} MiB`,
      'Use a kernel with CONFIG_HUGETLBFS and a CPU that has them, or another --backing.',
    );
  }
  return pool;
}

/** Why a hugetlb mapping could not be made: most often too few pages, and then how many. */
function explainPool(backing: Backing, bytes: number, error: unknown): Error {
  const pool = poolOf(backing);
  const wanted = bytes / backing.pageBytes;
  const missing = wanted - availablePages(pool);
  if (missing <= 0) {
    const reason = error instanceof Error ? error.message : String(error);
    return new UnsupportedError(
      `${backing.name}: ${reason}, although the pool has ${pool.free} free pages`,
      'The hugetlbfs mount (size=) or a cgroup may allow fewer.',
      { cause: error },
    );
  }
  const size = `${backing.pageBytes / 2 ** 20} MiB`;
  return new UnsupportedError(
    `${backing.name}: ${wanted} hugetlb pages of ${size} are wanted and ${missing} are missing (${pool.total} in the pool, ${pool.free} free, ${pool.reserved} reserved, ${pool.surplus} surplus)`,
    `Run: ${growCommand(backing.pageBytes, pool, missing)}`,
    { cause: error },
  );
}
