import { readFileSync } from 'node:fs';
import t from 'tap';
import { tracepointId } from '../../src/measure/tracefs.js';
import { rootSkip } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';

const LOCK = 'mmap_lock/mmap_lock_acquire_returned';
const skip = rootSkip();

t.test('a tracepoint has a positive id, the same every time', { skip }, async (t) => {
  const id = tracepointId(LOCK);
  t.ok(Number.isInteger(id.value) && id.value! > 0, JSON.stringify(id));
  t.strictSame(tracepointId(LOCK), id);
});

t.test('two tracepoints have two ids', { skip }, async (t) => {
  t.not(tracepointId('mmap_lock/mmap_lock_start_locking').value, tracepointId(LOCK).value);
});

t.test('a tracepoint that does not exist is null, with the reason', { skip }, async (t) => {
  for (const name of ['mmap_lock/no_such_event', 'no_such_system/event', '']) {
    t.strictSame(tracepointId(name), { value: null, why: `this kernel has no tracepoint ${name}` });
  }
});

t.test('no mount and no descriptor is left', async (t) => {
  const mounts = readFileSync('/proc/self/mounts', 'utf8');
  const descriptors = openDescriptors();
  tracepointId(LOCK);
  tracepointId('mmap_lock/no_such_event');
  t.equal(readFileSync('/proc/self/mounts', 'utf8'), mounts);
  t.strictSame(openDescriptors(), descriptors);
});
