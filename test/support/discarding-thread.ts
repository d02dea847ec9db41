/** Discards a range of guest memory once, in a thread of its own, for discard-threads.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { createDiscard } from '../../src/memory/discard.js';
import type { GuestMemoryLayout } from '../../src/memory/guest-memory.js';
import type { Trap } from '../../src/memory/trap.js';

export interface DiscardingThreadData {
  readonly memory: GuestMemoryLayout;
  readonly trap: Trap;
  readonly start: number;
  readonly bytes: number;
}

const { memory, trap, start, bytes } = workerData as DiscardingThreadData;
const discard = createDiscard({ memory, trap, stopping: () => false, bringIn: () => false });
parentPort!.postMessage(discard(start, bytes));
