/** Asks a source for page 0 and says what became of it, for retrying-source.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { openSource, type SourceSpec } from '../../src/source/open-source.js';

const source = openSource(workerData as SourceSpec);
parentPort!.postMessage('ready');
parentPort!.postMessage(source.fill(0, new Int32Array(1024), 0, 1024));
