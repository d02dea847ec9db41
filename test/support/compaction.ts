/** Makes the kernel move pages about: compaction of all memory, after there is something to compact. */
import { once } from 'node:events';
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { madvise } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { MADV_DONTNEED, MADV_NOHUGEPAGE, MADV_POPULATE_WRITE } from '../../src/uapi/mman.js';
import { PM_PRESENT } from '../../src/uapi/pagemap.js';
import { rootSkip } from './host.js';

const PAGE = 4096;
const PAGES = (64 * 2 ** 20) / PAGE;
const COMPACT = '/proc/sys/vm/compact_memory';

/** Why no compaction can be asked for, or no page frame be seen, or false. */
export function compactionSkip(): string | false {
  try {
    closeSync(openSync(COMPACT, 'w'));
  } catch (error) {
    return `needs ${COMPACT}: ${(error as Error).message}`;
  }
  return rootSkip();
}

/** Moves what can be moved together, once. Nothing is changed by it that would have to be put back. */
export function compact(): void {
  writeFileSync(COMPACT, '1');
}

/** The page frame of each page; 0 where none is mapped. */
export function pageFrames(address: number, pages: number): number[] {
  const entries = Buffer.alloc(pages * 8);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  readSync(pagemap, entries, 0, entries.length, (address / PAGE) * 8);
  closeSync(pagemap);
  return Array.from({ length: pages }, (_, page) => {
    const entry = entries.readBigUInt64LE(page * 8);
    return (entry & BigInt(PM_PRESENT)) === 0n ? 0 : Number(entry & ((1n << 55n) - 1n));
  });
}

/**
 * Memory of which every other page frame is free. What is allocated next goes into the lowest of
 * them, for they are freed last, and compaction moves it up into the others: it does not move
 * anything into large free blocks. What is freed stays with its CPU for seconds (6.7 on), in which
 * compaction does not see it: keep the holes, and compact again and again. The caller's to close.
 */
export function makeHoles(): Mapping {
  const ballast = Mapping.scratch(PAGES * PAGE);
  const { address, bytes } = ballast;
  madvise(address, bytes, MADV_NOHUGEPAGE);
  madvise(address, bytes, MADV_POPULATE_WRITE);
  const frames = pageFrames(address, PAGES).map((frame, page) => ({ frame, page }));
  for (const { frame, page } of frames.sort((a, b) => b.frame - a.frame)) {
    if (frame % 2 === 1) {
      madvise(address + page * PAGE, PAGE, MADV_DONTNEED);
    }
  }
  return ballast;
}

/** Compacts while `body` runs. */
export async function underCompaction<Result>(
  body: () => Promise<Result> | Result,
): Promise<Result> {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const thread = new URL('./compacting-thread.js', import.meta.url);
  const worker = new Worker(thread, { workerData: stop.buffer });
  await once(worker, 'message');
  try {
    return await body();
  } finally {
    const ended = once(worker, 'message');
    Atomics.store(stop, 0, 1);
    await ended;
    await worker.terminate();
  }
}
