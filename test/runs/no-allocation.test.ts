import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { nameOfNetwork } from '../../src/source/network-link.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(400_000);

const FAULTS = 100_000;

/**
 * What a fault may add to a worker's heap, on average over the second 50,000: by then the compiler
 * is done with nearly all. The smallest JavaScript object is 12 bytes, and a boxed double is one.
 */
const MAX_BYTES_PER_FAULT = 4;

/** Its waits are long enough to be waited for, and the run short enough. */
const NETWORK = { bitsPerSecond: 1e11, latencyMicroseconds: 2 };

for (const [delivery, network] of [
  ['exit', null],
  ['handler', null],
  ['exit', NETWORK],
] as const) {
  const over = network === null ? '' : `, over ${nameOfNetwork(network)}`;
  t.test(
    `${FAULTS} faults give the garbage collector nothing to do: ${delivery}${over}`,
    { skip: kvmSkip(), timeout: 160_000 },
    async (t) => {
      const run = (pages: number) =>
        runGuest({
          image: 'touch',
          delivery,
          network,
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
