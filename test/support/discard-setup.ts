import type { Test } from 'tap';
import { INSTALLED, MEMORY_ERROR } from '../../src/fault/outcome.js';
import type { Backing } from '../../src/memory/backing.js';
import { createDiscard, type Discard, type DiscardContext } from '../../src/memory/discard.js';
import { GuestPages } from './guest-pages.js';
import { PAGE, TrappedMemory } from './trapped-memory.js';

export interface Setup {
  readonly trap: TrappedMemory;
  readonly view: GuestPages;
  readonly discard: Discard;
  readonly unitBytes: number;
  readonly pagesPerUnit: number;
  /** Brings units in. */
  readonly bringIn: (...units: number[]) => void;
  readonly states: () => number[];
}

export interface SetupOptions {
  readonly unitBytes?: number;
  readonly delivery?: 'exit' | 'handler';
  readonly context?: Partial<DiscardContext>;
}

/** Memory of which every unit is missing, closed when the test ends. */
export function setUp(
  t: Test,
  backing: Backing,
  bytes: number,
  { unitBytes = backing.pageBytes, delivery = 'exit', context = {} }: SetupOptions = {},
): Setup {
  const trap = new TrappedMemory(delivery, bytes / PAGE, unitBytes, backing);
  t.teardown(() => trap.close());
  const sleepers = delivery === 'handler';
  const { resolve } = trap.resolver({ caller: 'prefetch', sleepers });
  return {
    trap,
    view: new GuestPages(trap.memory.layout),
    discard: createDiscard({
      memory: trap.memory.layout,
      trap: trap.trap,
      stopping: () => false,
      bringIn: (unit) => resolve(unit) !== MEMORY_ERROR,
      ...context,
    }),
    unitBytes,
    pagesPerUnit: unitBytes / PAGE,
    bringIn: (...units) => {
      for (const unit of units) {
        t.equal(resolve(unit), INSTALLED, `unit ${unit} is brought in`);
      }
    },
    states: () => [...trap.memory.states.words],
  };
}
