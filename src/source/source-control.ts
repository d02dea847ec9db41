const CLOSED = 0;
const RETRIES = 1;
const FAILURES = 2;
const WORDS = 3;

/** How often a source had to be asked again, and how often that was of no use. */
export interface SourceTally {
  /** Requests that were made again. */
  readonly retries: number;
  /** Requests that were given up. */
  readonly failures: number;
}

/** What the threads of a run share of its source: whether the run is over, and what went wrong. */
export class SourceControl {
  private readonly words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(WORDS * 4);
  }

  /** From now on nobody waits: the machine is being stopped. */
  close(): void {
    Atomics.store(this.words, CLOSED, 1);
    Atomics.notify(this.words, CLOSED);
  }

  get closed(): boolean {
    return Atomics.load(this.words, CLOSED) !== 0;
  }

  /** Returns after so long, or when it is closed. */
  sleep(milliseconds: number): void {
    Atomics.wait(this.words, CLOSED, 0, milliseconds);
  }

  countRetry(): void {
    Atomics.add(this.words, RETRIES, 1);
  }

  countFailure(): void {
    Atomics.add(this.words, FAILURES, 1);
  }

  get tally(): SourceTally {
    return {
      retries: Atomics.load(this.words, RETRIES),
      failures: Atomics.load(this.words, FAILURES),
    };
  }
}
