/** Looks at guest memory page by page, over and over, as a vCPU would, for discard-threads.test.ts. */
import { constants } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { ProcessMemory } from '../../src/ffi/process-memory.js';
import { PAGE, SOURCE } from './trapped-memory.js';

export interface LookingThreadData {
  readonly guestAddress: number;
  readonly pages: number;
  /** Words of {@link LOOKED} and so on; a stop is asked for in the last. */
  readonly seen: SharedArrayBuffer;
}

// Words of `seen`
/** Looks that gave the source's contents. */
export const LOOKED = 0;
/** Looks that gave EFAULT. */
export const FAULTED = 1;
/** Looks that gave anything else. */
export const WRONG = 2;
export const STOP = 3;
export const SEEN_BYTES = 16;

if (workerData?.seen !== undefined) {
  const { guestAddress, pages, seen } = workerData as LookingThreadData;
  const words = new Int32Array(seen);
  const memory = new ProcessMemory(PAGE);
  for (let look = 0; Atomics.load(words, STOP) === 0; look++) {
    const page = look % pages;
    const error = memory.tryRead(guestAddress + page * PAGE, PAGE);
    let kind = WRONG;
    if (error === constants.errno.EFAULT) {
      kind = FAULTED;
    } else if (error === 0 && SOURCE.compare(page, memory.buffer.s32, 0) === -1) {
      kind = LOOKED;
    }
    Atomics.add(words, kind, 1);
    Atomics.notify(words, kind);
  }
  parentPort!.postMessage('done');
}
