/** Transfers over a link that threads share, for network-source.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { openSource, type SourceSpec } from '../../src/source/open-source.js';

export interface NetworkThreadData {
  readonly spec: SourceSpec;
  /** Word 0: how many threads have arrived. */
  readonly barrier: SharedArrayBuffer;
  readonly threads: number;
  readonly transfers: number;
  readonly bytes: number;
}

/** Nanoseconds of CLOCK_MONOTONIC: before the first transfer, and after the last. */
export interface NetworkThreadEnd {
  readonly began: bigint;
  readonly ended: bigint;
}

const { spec, barrier, threads, transfers, bytes } = workerData as NetworkThreadData;
const arrived = new Int32Array(barrier);
const words = new Int32Array(bytes / 4);
const source = openSource(spec);

Atomics.add(arrived, 0, 1);
Atomics.notify(arrived, 0);
while (Atomics.load(arrived, 0) < threads) {
  Atomics.wait(arrived, 0, Atomics.load(arrived, 0), 100);
}
const began = process.hrtime.bigint();
for (let transfer = 0; transfer < transfers; transfer++) {
  source.fill(transfer, words, 0, words.length);
}
const ended = process.hrtime.bigint();
parentPort!.postMessage({ began, ended } satisfies NetworkThreadEnd);
