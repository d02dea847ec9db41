import { Presets, SingleBar } from 'cli-progress';
import type { Progress } from '../machine/machine-config.js';

/**
 * Progress on stderr: a bar on a terminal, otherwise a line for every step, so that logs stay short.
 */
export class ProgressLine {
  private readonly bar: SingleBar | null;

  constructor(private readonly total: number) {
    this.bar = process.stderr.isTTY
      ? new SingleBar(
          {
            format: '{bar} {percentage}% {step}',
            hideCursor: true,
            clearOnComplete: true,
            stream: process.stderr,
          },
          Presets.shades_classic,
        )
      : null;
    this.bar?.start(total, 0, { step: '' });
  }

  /** A step begins; `done` steps are behind it. */
  step(done: number, name: string): void {
    this.bar?.update(done, { step: name });
    if (this.bar === null) {
      process.stderr.write(`[${done + 1}/${this.total}] ${name}\n`);
    }
  }

  /** Within a step. */
  within(done: number, progress: Progress): void {
    if (progress.pages !== null && progress.pages > 0) {
      this.bar?.update(done + Math.min(progress.faults / progress.pages, 1));
    }
  }

  stop(): void {
    this.bar?.stop();
  }
}
