import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(400_000);

const FAULTS = 200_000;

/**
 * What a fault may add to a worker's heap, on average. The smallest JavaScript object, and a boxed
 * double, is 16 bytes. About 0.8 MB come from the first some ten thousand faults, while the engine
 * still interprets and collects types (up to 1.1 MB were seen where the compiler had to wait for the
 * CPU), and no more from then on.
 */
const MAX_BYTES_PER_FAULT = 8;

for (const delivery of ['exit', 'handler'] as const) {
  t.test(
    `${FAULTS} faults give the garbage collector nothing to do: ${delivery}`,
    { skip: kvmSkip(), timeout: 160_000 },
    async (t) => {
      const run = await runGuest({
        image: 'touch',
        delivery,
        memoryBytes: 1000 * 2 ** 20,
        params: { pages: String(FAULTS) },
        pin: { vcpu: [0], handler: [0] },
        timeoutSeconds: 140,
      });
      t.match(run, { outcome: 'completed', pages: { verified: FAULTS } });
      const { heap } = (delivery === 'exit' ? run.perVcpu : run.perHandler)[0]!;
      t.equal(heap.collections, 0, 'no collection while it ran');
      const perFault = heap.grownBytes / FAULTS;
      t.ok(perFault < MAX_BYTES_PER_FAULT, `${perFault.toFixed(2)} bytes of heap per fault`);
    },
  );
}
