import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(60_000);
const options = {
  image: 'touch',
  memoryBytes: 8 * 2 ** 20,
  params: { pages: '512', write: '100' },
};

for (const delivery of ['kernel', 'handler', 'exit'] as const) {
  t.test(`${delivery}: exits are no fewer than it takes`, { skip: kvmSkip() }, async (t) => {
    const { outcome, perFault, notMeasured } = await runGuest({ ...options, delivery, vcpus: 2 });
    t.equal(outcome, 'completed');
    const { kvmExits, kvmRuns } = perFault;
    if (kvmExits === null) {
      t.type(notMeasured.kvmExits, 'string', 'a figure that is not there has its reason');
      return;
    }
    t.notOk('kvmExits' in notMeasured);
    t.ok(kvmExits >= kvmRuns!, `${kvmExits} exits, ${kvmRuns} of them came back from KVM_RUN`);
    t.ok(delivery !== 'exit' || kvmExits >= 1, `${kvmExits} exits for each fault`);
  });
}

t.test('uncounted, it says so', { skip: kvmSkip() }, async (t) => {
  const { perFault, notMeasured } = await runGuest({ ...options, countKernelEvents: false });
  t.equal(perFault.kvmExits, null);
  t.equal(notMeasured.kvmExits, 'it was not asked for');
});
