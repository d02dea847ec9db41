import { Presets, SingleBar } from 'cli-progress';
import type { Progress } from '../machine/machine-config.js';

/** Less is not worth saying, nor is it known before so much has passed. */
const LEAST_SECONDS = 2;

/**
 * Progress on stderr: a bar on a terminal, otherwise a line for every step, so that logs stay short.
 * Both say how much time is left, by what the steps took until now.
 */
export class ProgressLine {
  private readonly bar: SingleBar | null;
  private readonly began: number;

  /**
   * @param total steps, or whatever else `done` counts
   * @param steps whether it is steps that are counted, and a log names each by its number
   * @param seconds for how long it has been under way
   */
  constructor(
    private readonly total: number,
    private readonly steps = true,
    seconds = 0,
  ) {
    this.began = performance.now() - seconds * 1000;
    this.bar = process.stderr.isTTY
      ? new SingleBar(
          {
            format: '{bar} {percentage}%{left}  {step}',
            hideCursor: true,
            clearOnComplete: true,
            stream: process.stderr,
          },
          Presets.shades_classic,
        )
      : null;
    this.bar?.start(total, 0, { step: '', left: '' });
  }

  /** A step begins; `done` steps are behind it. */
  step(done: number, name: string): void {
    const left = describeLeft((performance.now() - this.began) / 1000, done, this.total);
    this.bar?.update(done, { step: name, left });
    if (this.bar === null) {
      const where = this.steps
        ? `${done + 1}/${this.total}`
        : `${Math.floor((100 * done) / this.total)}%`;
      process.stderr.write(`[${where}] ${name}${left}\n`);
    }
  }

  /** Within a step. */
  within(done: number, progress: Progress): void {
    if (progress.pages !== null && progress.pages > 0) {
      const now = done + Math.min(progress.faults / progress.pages, 1);
      const left = describeLeft((performance.now() - this.began) / 1000, now, this.total);
      this.bar?.update(now, { left });
    }
  }

  stop(): void {
    this.bar?.stop();
  }
}

/** Progress of one run that takes longer, on a terminal alone, and until its guest writes there too. */
export class RunProgress {
  private line: ProgressLine | null = null;
  private over = !process.stderr.isTTY;

  update(progress: Progress): void {
    if (!this.over && progress.seconds >= LEAST_SECONDS && progress.pages !== null) {
      this.line ??= new ProgressLine(1, true, progress.seconds);
      this.line.within(0, progress);
    }
  }

  /** For good. */
  stop(): void {
    this.over = true;
    this.line?.stop();
    this.line = null;
  }
}

/** `, about 40 s left`; empty where that cannot be told yet, or is nothing. */
export function describeLeft(seconds: number, done: number, total: number): string {
  const left = (seconds * (total - done)) / done;
  if (!(seconds >= LEAST_SECONDS && left >= LEAST_SECONDS && Number.isFinite(left))) {
    return '';
  }
  return left < 120
    ? `, about ${Math.round(left)} s left`
    : `, about ${Math.round(left / 60)} minutes left`;
}
