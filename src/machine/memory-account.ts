import { type ChoreEnd, type ChoreSpec, Collapser } from '../fault/chores.js';
import { errnoName } from '../ffi/errors.js';
import { hugeMappedBytes } from '../memory/huge-pages.js';
import { readHugetlbPool } from '../memory/hugetlb-pool.js';
import type { Machine } from './machine.js';
import type { RunResult } from './run-result.js';

/** Between looks at whether to go on: some ten milliseconds' work. */
const BLOCKS_PER_STEP = 32;

/** What became of a run's memory besides its faults: huge pages, the hugetlb pool, background work. */
export class MemoryAccount {
  private readonly machine: Machine;
  private readonly collapser: Collapser;
  private readonly startBytes: number;
  private guestEndBytes: number | null = 0;
  private endBytes: number | null = 0;

  /** The guest has not run yet. */
  constructor(machine: Machine) {
    this.machine = machine;
    const { layout } = machine.memory;
    this.collapser = new Collapser(layout, machine.trap, () => false);
    this.startBytes = hugeMappedBytes(layout.guestAddress, layout.bytes);
  }

  /**
   * The guest's threads have ended. Collapses what is complete by now, if that is asked for.
   *
   * @param goOn asked every now and then; false ends it
   */
  async guestEnded(well: boolean, goOn: () => Promise<boolean>): Promise<void> {
    const { config, memory } = this.machine;
    const hugeBytes = (): number | null => {
      try {
        return hugeMappedBytes(memory.layout.guestAddress, memory.layout.bytes);
      } catch (error) {
        if (well) {
          throw error;
        }
        return null; // what went wrong before, the want of descriptors say, is the error to report
      }
    };
    this.guestEndBytes = hugeBytes();
    if (well && config.collapse !== 'never') {
      const { blocks } = this.collapser;
      for (let block = 0; block < blocks && (await goOn()); block += BLOCKS_PER_STEP) {
        this.collapser.pass(block, block + BLOCKS_PER_STEP);
      }
    }
    this.endBytes = hugeBytes();
  }

  result(
    chores: readonly { readonly chore: ChoreSpec['kind']; readonly end: ChoreEnd }[],
  ): Pick<RunResult, 'background' | 'hugePages' | 'hugetlb'> {
    const { hugetlb } = this.machine.memory;
    const running = chores.find(({ chore }) => chore === 'collapse')?.end;
    const rest = this.collapser.result();
    return {
      background: chores.map(({ chore, end: { reason, count, calls } }) => ({
        chore,
        end: reason,
        count,
        calls,
      })),
      hugePages: {
        mappedBytes: {
          start: this.startBytes,
          guestEnd: this.guestEndBytes,
          end: this.endBytes,
        },
        collapsedWhileRunning: running?.count ?? 0,
        collapsedAtEnd: rest.count,
        failures: nameErrors(running?.failures ?? {}, rest.failures),
      },
      hugetlb: hugetlb === null ? null : { ...hugetlb, end: readHugetlbPool(hugetlb.pageBytes)! },
    };
  }
}

/** By the errno's name: how many collapses failed. */
function nameErrors(...counts: readonly ChoreEnd['failures'][]): Record<string, number> {
  const named: Record<string, number> = {};
  for (const [error, times] of counts.flatMap((some) => Object.entries(some))) {
    const name = errnoName(Number(error));
    named[name] = (named[name] ?? 0) + times;
  }
  return named;
}
