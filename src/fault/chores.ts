import { NEIGHBOURS } from '../measure/counters.js';
import { Blocks, collapseBlock } from '../memory/collapse.js';
import type { Discard } from '../memory/discard.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { MISSING, PageStates } from '../memory/page-states.js';
import { HUGE_PAGE_BYTES } from '../memory/sizes.js';
import type { Trap } from '../memory/trap.js';
import type { WriterCalls } from './address-space-writer.js';
import { INSTALLED, type Outcome } from './outcome.js';
import { Pace } from './pace.js';
import type { WorkerControl } from './worker-control.js';

/** What a thread does while the guest runs, to its memory or beside it. */
export type ChoreSpec =
  /** Brings missing units in, in the order of their addresses. */
  | { readonly kind: 'prefetch'; readonly bytesPerSecond: number | null }
  /** Discards runs of units at random places from GPA `start` to `end`, as a balloon would. */
  | {
      readonly kind: 'discard';
      readonly bytesPerSecond: number | null;
      readonly start: number;
      readonly end: number;
    }
  /** Makes huge pages of blocks once they are complete. */
  | { readonly kind: 'collapse' }
  /** Changes the address space elsewhere, so often a second. */
  | { readonly kind: 'writer'; readonly perSecond: number; readonly calls: WriterCalls };

export interface ChoreEnd {
  /** `done`: there was nothing more to do. */
  readonly reason: 'done' | 'stopped';
  /** Units brought in or discarded, blocks collapsed, changes made. */
  readonly count: number;
  /** Calls that were made for it, those that failed included. */
  readonly calls: number;
  /** Collapses that failed: how often each errno. */
  readonly failures: Readonly<Record<number, number>>;
}

const LOOK_MILLISECONDS = 5;

export function prefetch(
  memory: GuestMemoryLayout,
  bytesPerSecond: number | null,
  resolve: (unit: number) => Outcome,
  counters: Float64Array,
  control: WorkerControl,
): ChoreEnd {
  const states = new PageStates(memory.states);
  const pace = new Pace(control, bytesPerSecond);
  const units = memory.bytes / memory.unitBytes;
  let count = 0;
  let calls = 0;
  for (let unit = 0; unit < units; unit++) {
    if (control.stopping) {
      return { reason: 'stopped', count, calls, failures: {} };
    }
    if (states.stateOf(unit) === MISSING) {
      calls++;
      // What cannot be had is left poisoned: an error for whoever touches it, not for us.
      const before = counters[NEIGHBOURS]!;
      if (resolve(unit) === INSTALLED) {
        const brought = 1 + counters[NEIGHBOURS]! - before;
        count += brought;
        pace.spend(brought * memory.unitBytes);
      }
    }
  }
  return { reason: 'done', count, calls, failures: {} };
}

/** Units discarded by one call: 1 to this many. */
const MOST_UNITS = 64;

export function discardAtRandom(
  memory: GuestMemoryLayout,
  spec: ChoreSpec & { readonly kind: 'discard' },
  discard: Discard,
  control: WorkerControl,
): ChoreEnd {
  const { unitBytes } = memory;
  const first = Math.ceil(spec.start / unitBytes);
  const room = Math.floor(spec.end / unitBytes) - first;
  const pace = new Pace(control, spec.bytesPerSecond);
  let count = 0;
  let calls = 0;
  let random = 0x2545f491;
  const below = (limit: number): number => {
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    return (random >>> 0) % limit;
  };
  while (!control.stopping) {
    const at = below(room);
    const units = Math.min(room - at, 1 + below(MOST_UNITS));
    count += discard((first + at) * unitBytes, units * unitBytes).units;
    calls++;
    pace.spend(units * unitBytes);
  }
  return { reason: 'stopped', count, calls, failures: {} };
}

export function collapseComplete(
  memory: GuestMemoryLayout,
  trap: Trap | null,
  control: WorkerControl,
): ChoreEnd {
  const collapser = new Collapser(memory, trap, () => control.stopping);
  while (!control.stopping) {
    collapser.pass();
    control.sleep(LOOK_MILLISECONDS);
  }
  return { reason: 'stopped', ...collapser.result() };
}

/** A block that the kernel does not collapse is tried this often: EAGAIN passes, others seldom do. */
const MOST_TRIES = 3;

/** Goes over all blocks, as often as it is asked to, and collapses those that are complete. */
export class Collapser {
  private readonly tries = new Map<number, number>();
  private collapsed = 0;
  private calls = 0;
  private readonly failures: Record<number, number> = {};
  private readonly looks: Blocks;

  constructor(
    private readonly memory: GuestMemoryLayout,
    private readonly trap: Trap | null,
    private readonly stopping: () => boolean,
  ) {
    this.looks = new Blocks(memory);
  }

  /** Goes over blocks `first` to `end`, by default all. */
  pass(first = 0, end = this.blocks): void {
    for (let block = first; block < Math.min(end, this.blocks) && !this.stopping(); block++) {
      if (this.looks.mayCollapse(block) && (this.tries.get(block) ?? 0) < MOST_TRIES) {
        this.collapse(block);
      }
    }
  }

  /** Whole blocks of guest memory. */
  get blocks(): number {
    return Math.floor(this.memory.bytes / HUGE_PAGE_BYTES);
  }

  private collapse(block: number): void {
    const result = collapseBlock(this.memory, this.trap, block, this.stopping);
    if (result.outcome === 'collapsed') {
      this.calls++;
      this.collapsed++;
      this.tries.delete(block);
    } else if (result.outcome === 'failed') {
      this.calls++;
      this.tries.set(block, (this.tries.get(block) ?? 0) + 1);
      this.failures[result.errno] = (this.failures[result.errno] ?? 0) + 1;
    }
  }

  result(): Pick<ChoreEnd, 'count' | 'calls' | 'failures'> {
    return { count: this.collapsed, calls: this.calls, failures: this.failures };
  }
}
