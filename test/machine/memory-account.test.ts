import t from 'tap';
import type { Machine } from '../../src/machine/machine.js';
import { MemoryAccount } from '../../src/machine/memory-account.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { uffdSkip } from '../support/host.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };
const goOn = async (): Promise<boolean> => true;

/** What an account looks at of a machine: three blocks of memory, two of them complete. */
function machineWith(trap: TrappedMemory, collapse: 'never' | 'complete' | 'end'): Machine {
  const { resolve } = trap.resolver();
  resolve(0);
  resolve(2);
  return { memory: trap.memory, trap: trap.trap, config: { collapse } } as unknown as Machine;
}

for (const [collapse, well, blocks] of [
  ['never', true, 0],
  ['end', true, 2],
  ['complete', true, 2],
  ['end', false, 0],
] as const) {
  const run = well ? 'well' : 'badly';
  t.test(`collapse ${collapse}, a run that ended ${run}: ${blocks} blocks`, options, async (t) => {
    using trap = new TrappedMemory('exit', (3 * HUGE_PAGE_BYTES) / PAGE, HUGE_PAGE_BYTES);
    const account = new MemoryAccount(machineWith(trap, collapse));
    await account.guestEnded(well, goOn);
    t.strictSame(account.result([]), {
      background: [],
      hugePages: {
        mappedBytes: { start: 0, guestEnd: 0, end: blocks * HUGE_PAGE_BYTES },
        collapsedWhileRunning: 0,
        collapsedAtEnd: blocks,
        failures: {},
      },
      hugetlb: null,
    });
  });
}

t.test('background work and failures are counted by name', options, async (t) => {
  using trap = new TrappedMemory('exit', (3 * HUGE_PAGE_BYTES) / PAGE, HUGE_PAGE_BYTES);
  const account = new MemoryAccount(machineWith(trap, 'complete'));
  await account.guestEnded(true, async () => false); // told to end at once
  const end = { reason: 'stopped', count: 4, calls: 7, failures: { 11: 2, 12: 1 } } as const;
  const { background, hugePages } = account.result([{ chore: 'collapse', end }]);
  t.strictSame(background, [{ chore: 'collapse', end: 'stopped', count: 4, calls: 7 }]);
  t.match(hugePages, { collapsedWhileRunning: 4, collapsedAtEnd: 0 });
  t.strictSame(hugePages.failures, { EAGAIN: 2, ENOMEM: 1 });
});
