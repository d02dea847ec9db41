import type { WorkerControl } from './worker-control.js';

/** Keeps to a rate: sleeps when it is ahead. */
export class Pace {
  private readonly started = performance.now();
  private amount = 0;

  /** @param perSecond of whatever is spent; null: as fast as it goes */
  constructor(
    private readonly control: WorkerControl,
    private readonly perSecond: number | null,
  ) {}

  spend(amount: number): void {
    if (this.perSecond !== null) {
      this.amount += amount;
      const due = (this.amount / this.perSecond) * 1000;
      this.control.sleep(due - (performance.now() - this.started));
    }
  }
}
