import t from 'tap';
import { kvmExitsOf } from '../../src/measure/kvm-exits.js';

t.test('exits are those counted, also more than KVM_RUN returns', async (t) => {
  t.strictSame(kvmExitsOf({ value: 520 }, 13), { value: 520 });
  t.strictSame(kvmExitsOf({ value: 13 }, 13), { value: 13 });
});

t.test('none at all is no figure for a vCPU that ran', async (t) => {
  t.match(kvmExitsOf({ value: 0 }, 13), { value: null, why: /does not fire it/ });
  t.strictSame(kvmExitsOf({ value: 0 }, 0), { value: 0 }, 'one that never came back had none');
});

t.test('a reason stays what it was', async (t) => {
  const why = { value: null, why: 'perf_event_open is not permitted' };
  t.strictSame(kvmExitsOf(why, 13), why);
});
