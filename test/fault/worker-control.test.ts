import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { WorkerControl } from '../../src/fault/worker-control.js';

/** A worker that waits for the start, and says whether it was told to stop. */
function waiter(control: WorkerControl): { worker: Worker; answer: Promise<boolean> } {
  const worker = new Worker(new URL('../support/start-thread.js', import.meta.url), {
    workerData: control.buffer,
  });
  return { worker, answer: once(worker, 'message').then(([stopping]) => stopping as boolean) };
}

t.test('workers go together when they are started', { timeout: 20_000 }, async (t) => {
  const control = new WorkerControl();
  const waiters = [waiter(control), waiter(control), waiter(control)];
  await Promise.all(waiters.map(({ worker }) => once(worker, 'online')));
  control.start();
  t.strictSame(await Promise.all(waiters.map(({ answer }) => answer)), [false, false, false]);
});

t.test('those that have not started are stopped too', { timeout: 20_000 }, async (t) => {
  const control = new WorkerControl();
  const early = waiter(control);
  await once(early.worker, 'online');
  control.stop();
  const late = waiter(control);
  t.strictSame(await Promise.all([early.answer, late.answer]), [true, true]);
});

t.test('stopped in the midst is not cancelled', async (t) => {
  const control = new WorkerControl();
  control.start();
  t.strictSame([control.stopping, control.cancelled], [false, false]);
  control.stop();
  control.stop();
  t.strictSame([control.stopping, control.cancelled], [true, false]);
});

t.test('a start after a stop starts nobody', async (t) => {
  const control = new WorkerControl();
  t.equal(control.stopping, false);
  control.stop();
  control.start();
  t.equal(control.stopping, true);
  t.equal(control.cancelled, true);
  t.equal(new WorkerControl(control.buffer).stopping, true, 'seen by whoever has the buffer');
});
