import { readFileSync } from 'node:fs';
import t from 'tap';
import { changeAddressSpace } from '../../src/fault/address-space-writer.js';
import { Pace } from '../../src/fault/pace.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { perfEvents, ThreadPerfCounters } from '../../src/measure/perf-counters.js';

t.setTimeout(30_000);

/** A control that says stop when it has been asked so often; it sleeps for nobody. */
function stopAfter(asked: number): WorkerControl {
  const control = new WorkerControl();
  control.start();
  let times = 0;
  Object.defineProperty(control, 'stopping', { get: () => times++ >= asked });
  return control;
}

const events = perfEvents(true);

t.test(
  'a round is four changes, of which three and no more take mmap_lock for write',
  { skip: events.mmapLock.value === null && events.mmapLock.why },
  async (t) => {
    const control = stopAfter(100);
    using counters = new ThreadPerfCounters(events);
    counters.start();
    const end = changeAddressSpace(control, new Pace(control, null));
    const { mmapLockWrites } = counters.stop();
    t.strictSame(end, { reason: 'stopped', count: 400, calls: 400, failures: {} });
    t.ok(mmapLockWrites.value! >= 300 && mmapLockWrites.value! < 330, `${mmapLockWrites.value}`);
  },
);

t.test('it leaves no mapping behind', async (t) => {
  const mappings = (): number => readFileSync('/proc/self/maps', 'utf8').split('\n').length;
  changeAddressSpace(stopAfter(1), new Pace(stopAfter(1), null));
  const before = mappings();
  changeAddressSpace(stopAfter(200), new Pace(stopAfter(1), null));
  t.ok(mappings() < before + 20, `${before} mappings, then ${mappings()}`);
});

t.test('it keeps to its rate', async (t) => {
  const control = stopAfter(5);
  const slept: number[] = [];
  control.sleep = (milliseconds) => slept.push(milliseconds);
  changeAddressSpace(control, new Pace(control, 10));
  t.equal(slept.length, 20, 'after each change');
  t.ok(slept.at(-1)! > 1500 && slept.at(-1)! <= 2000, 'by then two seconds were to have passed');
});

t.test('without a rate it sleeps for nobody', async (t) => {
  const control = stopAfter(5);
  control.sleep = () => t.fail('it slept');
  changeAddressSpace(control, new Pace(control, null));
});
