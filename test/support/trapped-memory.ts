/** A small guest memory with a userfaultfd, as a machine has it, but without a machine. */

import { closeSync, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { createFaultTiming, type FaultTiming, UNTIMED } from '../../src/fault/fault-timing.js';
import {
  createInstaller,
  type Installer,
  type InstallerOptions,
} from '../../src/fault/installer.js';
import { createResolver, type Resolver, type ResolverOptions } from '../../src/fault/resolver.js';
import { Descriptor } from '../../src/ffi/descriptor.js';
import { SyscallError } from '../../src/ffi/errors.js';
import { errno, madvise, memfd_create, poll } from '../../src/ffi/libc.js';
import { ResourceStack } from '../../src/ffi/resource-stack.js';
import { scratch } from '../../src/ffi/scratch.js';
import { WindowedMemory } from '../../src/ffi/view.js';
import { DELIVERIES, prepareMemory } from '../../src/machine/delivery.js';
import { COUNTER_ROW_BYTES, counterRow } from '../../src/measure/counters.js';
import { allocateHistograms, threadHistograms } from '../../src/measure/histogram.js';
import { BACKINGS, type Backing } from '../../src/memory/backing.js';
import { GuestMemory, type GuestMemoryOptions } from '../../src/memory/guest-memory.js';
import type { Trap } from '../../src/memory/trap.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { POLLIN } from '../../src/uapi/fcntl.js';
import { MADV_DONTNEED } from '../../src/uapi/mman.js';
import { PM_PRESENT, PM_SWAP } from '../../src/uapi/pagemap.js';
import type { Userfaultfd } from '../../src/uffd/userfaultfd.js';

export const PAGE = 4096;
export const SOURCE = new PatternSource(7);

export class TrappedMemory implements Disposable {
  readonly memory: GuestMemory;
  readonly uffd: Userfaultfd;
  readonly trap: Trap;
  readonly counters = counterRow(new SharedArrayBuffer(COUNTER_ROW_BYTES), 0);
  readonly timing: FaultTiming = createFaultTiming(threadHistograms(allocateHistograms(1), 0));
  private readonly owned: ResourceStack;

  /**
   * @param delivery `exit`: trap markers everywhere; `handler`: a touch sleeps
   * @param pages of 4 KiB
   */
  constructor(
    delivery: 'exit' | 'handler',
    pages = 16,
    unitBytes = PAGE,
    backing: Backing = BACKINGS.shmem,
    options: GuestMemoryOptions = {},
  ) {
    using stack = new ResourceStack();
    this.memory = stack.use(GuestMemory.create(backing, pages * PAGE, unitBytes, options));
    const {
      uffds: [uffd],
      trap,
    } = prepareMemory(this.memory, DELIVERIES[delivery])!;
    this.uffd = stack.use(uffd);
    this.trap = trap;
    this.owned = stack.move();
  }

  /** The alias mapping, of a backing that has one. */
  get alias(): WindowedMemory {
    return aliasOf(this.memory);
  }

  /** An installer of single units, with a pattern for a source, but for what `options` says. */
  installer(options: Partial<InstallerOptions> = {}): Installer {
    return installerFor(this.memory, {
      uffds: this.trap.uffds,
      counters: this.counters,
      ...options,
    });
  }

  /** A resolver for a vCPU thread, with a pattern for a source, but for what `options` says. */
  resolver(options: Partial<ResolverOptions> = {}): Resolver {
    return createResolver({
      memory: this.memory.layout,
      source: SOURCE,
      uffds: this.trap.uffds,
      strategy: 'no-slow-gup',
      around: 0,
      caller: 'vcpu',
      sleepers: false,
      counters: this.counters,
      timing: this.timing,
      ...options,
    });
  }

  /** HVA of a page in the guest mapping, for system calls only. */
  guestAddress(page: number): number {
    return this.memory.layout.guestAddress + page * PAGE;
  }

  aliasAddress(page: number): number {
    return this.memory.layout.aliasAddress + page * PAGE;
  }

  /** Puts pages from `page` on into the page cache, with the source's contents. */
  fill(page: number, pages = 1): void {
    SOURCE.fill(page, this.alias.words[0]!, page * 1024, pages * 1024);
  }

  /** What the guest mapping has of a page: looked up in /proc/self/pagemap, not touched. */
  pte(page: number): 'none' | 'marker' | 'present' {
    return pteAt(this.guestAddress(page));
  }

  ptes(): string[] {
    return Array.from({ length: this.memory.layout.bytes / PAGE }, (_, page) => this.pte(page));
  }

  /** Takes entries out of the guest mapping, as the kernel may at any time: the file keeps its pages. */
  forget(page: number, bytes: number): void {
    if (madvise(this.guestAddress(page), bytes, MADV_DONTNEED) < 0) {
      throw new SyscallError('madvise(MADV_DONTNEED)', errno());
    }
  }

  /** Waits until a thread sleeps on a fault: its message can be read. */
  faultIsPending(): boolean {
    return isReadable(this.uffd.fd);
  }

  /** May be called twice. */
  close(): void {
    this.owned.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The alias mapping of a memory whose backing has one. */
export function aliasOf({ layout }: GuestMemory): WindowedMemory {
  return new WindowedMemory(layout.aliasAddress, layout.bytes);
}

/** An installer as the main thread has one: by default nothing is trapped, and nobody sleeps. */
export function installerFor(
  memory: GuestMemory,
  options: Partial<InstallerOptions> = {},
): Installer {
  return createInstaller({
    memory: memory.layout,
    source: SOURCE,
    uffds: null,
    wake: false,
    mostUnits: 1,
    counters: counterRow(new SharedArrayBuffer(COUNTER_ROW_BYTES), 0),
    timing: UNTIMED,
    ...options,
  });
}

/** Waits until a descriptor can be read, ten seconds at most. */
export function isReadable(fd: number): boolean {
  scratch.s32[0] = fd;
  scratch.u32[1] = POLLIN;
  for (;;) {
    const ready = poll(scratch.address, 1, 10_000);
    // A child that ends meanwhile (host-debts.ts has some) makes a signal.
    if (ready >= 0 || errno() !== constants.errno.EINTR) {
      return ready === 1;
    }
  }
}

export function pteAt(address: number): 'none' | 'marker' | 'present' {
  const entry = Buffer.alloc(8);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  readSync(pagemap, entry, 0, 8, (address / PAGE) * 8);
  closeSync(pagemap);
  const bits = entry.readBigUInt64LE();
  if ((bits & BigInt(PM_PRESENT)) !== 0n) {
    return 'present';
  }
  return (bits & BigInt(PM_SWAP)) !== 0n ? 'marker' : 'none';
}

/** A file that write(2) copies guest memory into, so that the kernel touches it and not we. */
export class Sink extends Descriptor {
  constructor() {
    super(memfd_create('faultline test sink', 0));
  }

  /** The words written so far. */
  words(): Int32Array {
    const bytes = Buffer.alloc(64 * PAGE);
    const length = readSync(this.fd, bytes, 0, bytes.length, 0);
    return new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + length));
  }
}

/** What the source supplies for `pages` pages from `page` on. */
export function expected(page: number, pages = 1): Int32Array {
  const words = new Int32Array(pages * 1024);
  SOURCE.fill(page, words, 0, words.length);
  return words;
}
