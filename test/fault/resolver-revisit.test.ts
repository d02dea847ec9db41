/** The resolver asked about units that it has mapped before. */
import { constants } from 'node:os';
import t from 'tap';
import {
  INSTALLED,
  MEMORY_ERROR,
  POPULATED,
  PRESENT,
  REMAPPED,
  RETRIED,
} from '../../src/fault/outcome.js';
import { createRevisit } from '../../src/fault/revisit.js';
import { STRATEGIES } from '../../src/machine/machine-config.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { MemoryChanges } from '../../src/memory/changes.js';
import { AWAITED, CLAIMED, MAPPED } from '../../src/memory/page-states.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { GuestPages } from '../support/guest-pages.js';
import { uffdSkip } from '../support/host.js';
import { expected, PAGE, TrappedMemory } from '../support/trapped-memory.js';

const { EFAULT } = constants.errno;
const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

eachBacking(
  'a handler maps again what the kernel has unmapped',
  { ...options, of: ({ fill }) => fill === 'continue' },
  (t, backing, bytes) => {
    const trap = new TrappedMemory('handler', bytes / PAGE, backing.pageBytes, backing);
    t.teardown(() => trap.close());
    const { resolve } = trap.resolver({ caller: 'handler', sleepers: true });
    t.equal(resolve(1), INSTALLED);
    t.equal(resolve(1), PRESENT, 'a message that is older than the mapping');
    trap.forget(0, bytes);
    t.equal(resolve(1), REMAPPED);
    t.equal(trap.memory.states.stateOf(1), MAPPED);
    t.equal(new GuestPages(trap.memory.layout).unit(1), 'source');
    t.equal(resolve(1), PRESENT);
  },
);

t.test('a handler leaves a unit that is being discarded to who discards it', options, async (t) => {
  using trap = new TrappedMemory('handler');
  const { resolve } = trap.resolver({ caller: 'handler', sleepers: true });
  resolve(1);
  trap.memory.states.claimMapped(1);
  t.equal(resolve(1), PRESENT, 'who discards it wakes the sleeper');
  t.equal(trap.memory.states.stateOf(1), AWAITED);
});

t.test('a second exit after a change of memory is a first one', options, async (t) => {
  for (const strategy of ['no-uffd-wait', 'no-slow-gup'] as const) {
    using trap = new TrappedMemory('exit');
    const changes = new MemoryChanges(trap.memory.layout.changes);
    const { resolve } = trap.resolver({ strategy });
    t.equal(resolve(1), INSTALLED);
    t.equal(resolve(1), PRESENT);
    changes.begin(() => false);
    t.equal(resolve(1), PRESENT, 'memory is being changed');
    changes.end();
    t.equal(resolve(1), PRESENT, 'it was changed meanwhile');
    t.equal(resolve(1), strategy === 'no-uffd-wait' ? MEMORY_ERROR : POPULATED);
  }
});

t.test('a unit that is being discarded when it exits again is tried again', options, async (t) => {
  using trap = new TrappedMemory('exit');
  const { resolve } = trap.resolver();
  resolve(1);
  resolve(1);
  trap.memory.states.claimMapped(1);
  t.equal(resolve(1), RETRIED);
  trap.memory.states.publish(1, MAPPED);
  t.equal(resolve(1), POPULATED);
});

t.test('who prefetches does not wait for a claim', options, async (t) => {
  using trap = new TrappedMemory('exit');
  trap.memory.states.claim(1);
  t.equal(trap.resolver({ caller: 'prefetch' }).resolve(1), PRESENT);
  t.equal(trap.memory.states.stateOf(1), CLAIMED, 'and does not say that anybody does');
});

t.test('a message about a block that is being collapsed is no memory error', options, async (t) => {
  using trap = new TrappedMemory('handler');
  const { layout, states } = trap.memory;
  const changes = new MemoryChanges(layout.changes);
  const { resolve } = trap.resolver({ caller: 'handler', sleepers: true });
  t.equal(resolve(1), INSTALLED);
  changes.begin(() => false);
  trap.uffd.unregister(layout.guestAddress, layout.bytes); // as a collapse does for the moment
  t.equal(resolve(1), RETRIED, 'UFFDIO_CONTINUE says ENOENT');
  t.equal(states.stateOf(1), MAPPED);
  trap.uffd.register(layout.guestAddress, layout.bytes, trap.trap.modes);
  changes.end();
  t.equal(resolve(1), PRESENT);
  trap.uffd.unregister(layout.guestAddress, layout.bytes);
  t.equal(resolve(1), MEMORY_ERROR, 'where nothing explains it, it is');
});

for (const strategy of STRATEGIES) {
  t.test(
    `${strategy}: where a touch would sleep, an entry that the kernel dropped is continued`,
    options,
    async (t) => {
      using trap = new TrappedMemory('handler');
      const { resolve } = trap.resolver({ caller: 'vcpu', sleepers: true, strategy });
      t.equal(resolve(1), INSTALLED);
      trap.forget(1, PAGE);
      t.equal(resolve(1), PRESENT, 'a lost race, for all that is known');
      t.equal(trap.pte(1), 'none');
      t.equal(resolve(1), REMAPPED);
      t.equal(trap.pte(1), 'present');
      t.equal(trap.memory.states.stateOf(1), MAPPED);
      t.strictSame(trap.alias.words[0]!.slice(1024, 2048), expected(1));
      t.equal(resolve(1), PRESENT, 'its next exit is a first one');
      const outcome = strategy === 'no-slow-gup' ? POPULATED : MEMORY_ERROR;
      let exits = 1;
      while (resolve(1) === PRESENT && exits < 100) {
        t.equal(trap.memory.states.stateOf(1), MAPPED);
        exits += 1;
      }
      t.equal(resolve(1), outcome, 'there, and nevertheless an exit, again and again');
      t.equal(exits, strategy === 'no-slow-gup' ? 1 : 9, 'each of which may have lost a race');
    },
  );

  t.test(
    `${strategy}: two vCPUs leave for the same lost entry, and neither for an error`,
    options,
    async (t) => {
      using trap = new TrappedMemory('handler');
      const { resolve: first } = trap.resolver({ caller: 'vcpu', sleepers: true, strategy });
      const { resolve: second } = trap.resolver({ caller: 'vcpu', sleepers: true, strategy });
      t.equal(first(1), INSTALLED);
      for (let round = 0; round < 3; round += 1) {
        trap.forget(1, PAGE);
        t.equal(first(1), PRESENT);
        t.equal(first(1), REMAPPED);
        const late = second(1); // it left before that
        t.equal(late, round > 0 && strategy === 'no-slow-gup' ? POPULATED : PRESENT);
        t.equal(trap.memory.states.stateOf(1), MAPPED);
      }
    },
  );
}

t.test('a resident unit, which is not registered, is populated', options, async (t) => {
  using trap = new TrappedMemory('handler');
  const { layout, states } = trap.memory;
  const { resolve } = trap.resolver({ caller: 'vcpu', sleepers: true });
  t.equal(resolve(1), INSTALLED);
  layout.resident.push({ first: 1, end: 2 });
  trap.uffd.unregister(trap.guestAddress(1), PAGE);
  trap.forget(1, PAGE);
  t.equal(resolve(1), PRESENT);
  t.equal(resolve(1), POPULATED);
  t.equal(trap.pte(1), 'present');
  t.equal(states.stateOf(1), MAPPED);
});

t.test(
  'memory that somebody else threw away is a memory error, and no sleep',
  options,
  async (t) => {
    using trap = new TrappedMemory('handler', 16, PAGE, BACKINGS['anon-private']);
    const { resolve, failure } = trap.resolver({ caller: 'vcpu', sleepers: true });
    t.equal(resolve(1), INSTALLED);
    trap.forget(1, PAGE); // and of anonymous memory the page
    t.equal(resolve(1), PRESENT);
    t.equal(resolve(1), MEMORY_ERROR);
    t.match(failure, { unit: 1, cause: 'populate', errno: EFAULT });
  },
);

t.test('a unit that is poisoned no more is asked for again', options, async (t) => {
  using trap = new TrappedMemory('exit');
  const { explain } = createRevisit({
    memory: trap.memory.layout,
    sleepers: false,
    strategy: 'no-slow-gup',
    counters: trap.counters,
    wake: () => undefined,
    installer: null,
  });
  t.equal(explain(1, trap.memory.states.reasonOf(1)), RETRIED);
});
