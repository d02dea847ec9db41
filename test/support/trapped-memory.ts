/** A small guest memory with a userfaultfd, as a machine has it, but without a machine. */
import { closeSync, openSync, readSync } from 'node:fs';
import { createFaultTiming, type FaultTiming } from '../../src/fault/fault-timing.js';
import { createResolver, type Resolver, type ResolverOptions } from '../../src/fault/resolver.js';
import { Descriptor } from '../../src/ffi/descriptor.js';
import { memfd_create, poll } from '../../src/ffi/libc.js';
import { scratch } from '../../src/ffi/scratch.js';
import { DELIVERIES } from '../../src/machine/delivery.js';
import { COUNTER_ROW_BYTES, counterRow } from '../../src/measure/counters.js';
import { allocateHistograms, threadHistograms } from '../../src/measure/histogram.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { POLLIN } from '../../src/uapi/fcntl.js';
import { PM_PRESENT, PM_SWAP } from '../../src/uapi/pagemap.js';
import type { Userfaultfd } from '../../src/uffd/userfaultfd.js';

export const PAGE = 4096;
export const SOURCE = new PatternSource(7);

export class TrappedMemory {
  readonly memory: GuestMemory;
  readonly uffd: Userfaultfd;
  readonly counters = counterRow(new SharedArrayBuffer(COUNTER_ROW_BYTES), 0);
  readonly timing: FaultTiming = createFaultTiming(threadHistograms(allocateHistograms(1), 0));

  /** @param delivery `exit`: trap markers everywhere; `handler`: a touch sleeps */
  constructor(delivery: 'exit' | 'handler', pages = 16, unitBytes = PAGE) {
    this.memory = GuestMemory.create(BACKINGS.shmem, pages * PAGE, unitBytes);
    this.uffd = DELIVERIES[delivery].prepare(this.memory)!;
  }

  /** A resolver for a vCPU thread, with a pattern for a source, but for what `options` says. */
  resolver(options: Partial<ResolverOptions> = {}): Resolver {
    return createResolver({
      memory: this.memory.layout,
      source: SOURCE,
      uffd: this.uffd.fd,
      strategy: 'no-slow-gup',
      caller: 'vcpu',
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
    SOURCE.fill(page, this.memory.alias.words[0]!, page * 1024, pages * 1024);
  }

  /** What the guest mapping has of a page: looked up in /proc/self/pagemap, not touched. */
  pte(page: number): 'none' | 'marker' | 'present' {
    return pteAt(this.guestAddress(page));
  }

  ptes(): string[] {
    return Array.from({ length: this.memory.layout.bytes / PAGE }, (_, page) => this.pte(page));
  }

  /** Waits until a thread sleeps on a fault: its message can be read. */
  faultIsPending(): boolean {
    return isReadable(this.uffd.fd);
  }

  close(): void {
    this.uffd.close();
    this.memory.close();
  }
}

/** Waits until a descriptor can be read, ten seconds at most. */
export function isReadable(fd: number): boolean {
  scratch.s32[0] = fd;
  scratch.u32[1] = POLLIN;
  return poll(scratch.address, 1, 10_000) === 1;
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
