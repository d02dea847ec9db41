import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(400_000);

const FAULTS = 100_000;

/**
 * What a fault may add to a worker's heap, on average over the second 50,000: by then the compiler
 * is done with nearly all. The smallest JavaScript object is 12 bytes, and a boxed double is one.
 */
const MAX_BYTES_PER_FAULT = 4;

for (const delivery of ['exit', 'handler'] as const) {
  t.test(
    `${FAULTS} faults give the garbage collector nothing to do: ${delivery}`,
    { skip: kvmSkip(), timeout: 160_000 },
    async (t) => {
      const run = (pages: number) =>
        runGuest({
          image: 'touch',
          delivery,
          memoryBytes: 400 * 2 ** 20,
          params: { pages: String(pages) },
          pin: { vcpu: [0], handler: [0] },
          timeoutSeconds: 70,
        });
      const few = await run(FAULTS / 2);
      const many = await run(FAULTS);
      t.match(many, { outcome: 'completed', pages: { verified: FAULTS } });
      const heap = ({ perVcpu, perHandler }: typeof many) =>
        (delivery === 'exit' ? perVcpu : perHandler)[0]!.heap;
      t.equal(heap(many).collections, 0, 'no collection while it ran');
      const perFault = (heap(many).grownBytes - heap(few).grownBytes) / (FAULTS / 2);
      t.ok(perFault < MAX_BYTES_PER_FAULT, `${perFault.toFixed(2)} bytes of heap per fault more`);
    },
  );
}
