/** Threads touch the guest mapping by write(2), sleep in the kernel, and get what the source has. */
import { once } from 'node:events';
import { constants } from 'node:os';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import type { HandlerEnd } from '../../src/fault/handler-loop.js';
import { INSTALLED, OUTCOMES } from '../../src/fault/outcome.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { WakeEvent } from '../../src/ffi/descriptor.js';
import {
  COUNTER_ROW_BYTES,
  counterRow,
  FAULTS,
  FIRST_OUTCOME,
} from '../../src/measure/counters.js';
import { MAPPED } from '../../src/memory/page-states.js';
import type { HandlerThreadData } from '../support/handler-thread.js';
import { uffdSkip } from '../support/host.js';
import { SyscallThread } from '../support/syscall-thread.js';
import { expected, PAGE, Sink, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(), timeout: 20_000 };

class Handled extends TrappedMemory {
  readonly stop = new WakeEvent();
  readonly sink = new Sink();
  readonly row = new SharedArrayBuffer(COUNTER_ROW_BYTES);
  private readonly ends: Promise<HandlerEnd>[] = [];
  private readonly workers: Worker[] = [];
  private readonly threads: SyscallThread[] = [];

  constructor(t: { teardown(close: () => Promise<void>): void }, pages = 16, unitBytes = PAGE) {
    super('handler', pages, unitBytes);
    t.teardown(() => this.closeAll());
  }

  /** Starts one handler; its end is told by the promise. */
  handle(trouble?: 'none' | 'retry', control?: WorkerControl): Promise<HandlerEnd> {
    const data: HandlerThreadData = {
      memory: this.memory.layout,
      uffd: this.uffd.fd,
      stopEvent: this.stop.fd,
      counters: this.row,
      ...(trouble && { trouble }),
      ...(control && { control: control.buffer }),
    };
    const worker = new Worker(new URL('../support/handler-thread.js', import.meta.url), {
      workerData: data,
    });
    this.workers.push(worker);
    const end = once(worker, 'message').then(([end]) => end as HandlerEnd);
    this.ends.push(end);
    return end;
  }

  thread(): SyscallThread {
    const thread = new SyscallThread();
    this.threads.push(thread);
    return thread;
  }

  counted(name: (typeof OUTCOMES)[number]): number {
    return counterRow(this.row, 0)[FIRST_OUTCOME + OUTCOMES.indexOf(name)]!;
  }

  private async closeAll(): Promise<void> {
    this.stop.signal();
    await Promise.all(this.workers.map((worker) => worker.terminate()));
    this.uffd.close(); // wakes whoever still sleeps
    await Promise.all(this.threads.map((thread) => thread.end()));
    this.sink.close();
    this.stop.close();
    this.close();
  }
}

t.test("every touched page arrives with the source's contents, once", options, async (t) => {
  const handled = new Handled(t);
  const end = handled.handle();
  const { result } = await handled
    .thread()
    .call('write', handled.sink.fd, handled.guestAddress(0), 16 * PAGE);
  t.equal(result, 16 * PAGE);
  t.strictSame(handled.sink.words(), expected(0, 16));
  t.equal(handled.memory.states.count(MAPPED), 16);
  t.equal(counterRow(handled.row, 0)[FAULTS], 16);
  t.equal(handled.counted('installed'), 16);
  handled.stop.signal();
  t.strictSame(await end, { reason: 'stopped' });
});

t.test('a unit of 4 pages is one fault, wherever it is touched', options, async (t) => {
  const handled = new Handled(t, 16, 4 * PAGE);
  handled.handle();
  const thread = handled.thread();
  for (const page of [6, 4, 7, 5]) {
    t.match(await thread.call('write', handled.sink.fd, handled.guestAddress(page), PAGE), {
      result: PAGE,
    });
  }
  const words = handled.sink.words();
  [6, 4, 7, 5].forEach((page, index) => {
    t.strictSame(words.slice(index * 1024, (index + 1) * 1024), expected(page));
  });
  t.equal(counterRow(handled.row, 0)[FAULTS], 1);
  t.strictSame(handled.ptes().slice(4, 8), Array(4).fill('present'));
  t.strictSame(handled.ptes().slice(8), Array(8).fill('none'));
});

t.test(
  'two handlers and two threads at the same pages: nobody is forgotten',
  options,
  async (t) => {
    const handled = new Handled(t, 64);
    const ends = [handled.handle(), handled.handle()];
    const other = new Sink();
    t.teardown(() => other.close());
    const [a, b] = [handled.thread(), handled.thread()];
    for (let page = 0; page < 64; page++) {
      const answers = await Promise.all([
        a.call('write', handled.sink.fd, handled.guestAddress(page), PAGE),
        b.call('write', other.fd, handled.guestAddress(page), PAGE),
      ]);
      t.match(answers, [{ result: PAGE }, { result: PAGE }], `page ${page}`);
    }
    t.strictSame(handled.sink.words(), expected(0, 64));
    t.strictSame(other.words(), expected(0, 64));
    t.equal(handled.memory.states.count(MAPPED), 64);
    handled.stop.signal();
    t.strictSame(await Promise.all(ends), [{ reason: 'stopped' }, { reason: 'stopped' }]);
  },
);

t.test('the stop event ends a handler that has nothing to do', options, async (t) => {
  const handled = new Handled(t);
  const end = handled.handle();
  handled.stop.signal();
  t.strictSame(await end, { reason: 'stopped' });
  t.equal(counterRow(handled.row, 0)[FAULTS], 0);
});

t.test(
  'one that comes late to a run that is being stopped serves all the same',
  options,
  async (t) => {
    const handled = new Handled(t);
    const control = new WorkerControl();
    control.start();
    const write = handled.thread().call('write', handled.sink.fd, handled.guestAddress(3), PAGE);
    control.stop();
    const end = handled.handle(undefined, control);
    t.match(await write, { result: PAGE }, 'what no signal ends: a fault of the kernel itself');
    handled.stop.signal();
    t.strictSame(await end, { reason: 'stopped' });
  },
);

t.test('one that was never started touches nothing', options, async (t) => {
  const handled = new Handled(t);
  const control = new WorkerControl();
  control.stop();
  t.strictSame(await handled.handle(undefined, control), { reason: 'stopped' });
});

t.test('a memory error ends the handler, and no zero page is served', options, async (t) => {
  const handled = new Handled(t);
  const end = handled.handle('none');
  const write = handled.thread().call('write', handled.sink.fd, handled.guestAddress(9), PAGE);
  t.strictSame(await end, {
    reason: 'memory-error',
    failure: { unit: 9, cause: 'source', errno: 0 },
  });
  t.equal(handled.pte(9), 'none');
  t.equal(handled.counted('memory-error'), 1);
  t.equal(handled.sink.words().length, 0);
  handled.fill(9);
  handled.uffd.continueRange(handled.guestAddress(9), PAGE, PAGE);
  t.match(await write, { result: PAGE }, 'its thread slept all the while');
});

t.test(
  'a fault that is to be tried again is not forgotten',
  { ...options, timeout: 5_000 },
  async (t) => {
    const handled = new Handled(t);
    handled.handle('retry');
    const { result } = await handled
      .thread()
      .call('write', handled.sink.fd, handled.guestAddress(1), PAGE);
    t.equal(result, PAGE, 'its thread sleeps, and no second message will come for it');
    t.strictSame(handled.sink.words(), expected(1));
    t.equal(INSTALLED, OUTCOMES.indexOf('installed'));
  },
);

t.test('a closed userfaultfd is a defect, not a reason to sleep for ever', options, async (t) => {
  const handled = new Handled(t);
  const data: HandlerThreadData = {
    memory: handled.memory.layout,
    uffd: constants.errno.EBADF + 1000, // no such descriptor
    stopEvent: handled.stop.fd,
    counters: handled.row,
  };
  const worker = new Worker(new URL('../support/handler-thread.js', import.meta.url), {
    workerData: data,
  });
  const [error] = (await once(worker, 'error')) as [Error];
  t.match(error.message, /closed while its handler ran/);
});
