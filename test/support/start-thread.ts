/** Waits for a {@link WorkerControl} to let it go, for worker-control.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { WorkerControl } from '../../src/fault/worker-control.js';

const control = new WorkerControl(workerData as SharedArrayBuffer);
control.waitForStart();
parentPort!.postMessage(control.stopping);
