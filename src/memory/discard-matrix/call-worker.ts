/** Entry of the thread that makes calls which may sleep until somebody reads the userfaultfd. */
import { parentPort, workerData } from 'node:worker_threads';
import { write } from '../../ffi/libc.js';
import { ScratchPage } from '../../ffi/scratch.js';
import { type CallTarget, type DiscardCall, makeCall } from './calls.js';

export interface CallRequest {
  readonly call: DiscardCall;
  readonly target: CallTarget;
}

export interface CallWorkerData {
  /** One word: the errno of the last call, or 0. */
  readonly result: SharedArrayBuffer;
  /** An eventfd, signalled when a call has returned. */
  readonly returned: number;
}

const port = parentPort!;
const data = workerData as CallWorkerData;
const result = new Int32Array(data.result);
const one = new ScratchPage(8);
one.setU64(0, 1);

port.on('message', ({ call, target }: CallRequest) => {
  Atomics.store(result, 0, makeCall(call, target));
  write(data.returned, one.address, 8);
});
port.postMessage('ready');
