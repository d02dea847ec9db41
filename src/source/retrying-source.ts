import type { PageSource } from './page-source.js';
import type { SourceControl } from './source-control.js';

/** Before the second try; twice as long before each further one. */
const FIRST_PAUSE_MILLISECONDS = 5;
const LONGEST_PAUSE_MILLISECONDS = 1000;

/** Another source, asked again when it fails. A pause ends when the machine is being stopped. */
export class RetryingSource implements PageSource {
  constructor(
    private readonly of: PageSource,
    private readonly retries: number,
    private readonly control: SourceControl,
  ) {}

  fill(pageNumber: number, words: Int32Array, first: number, count: number): boolean {
    return (
      this.of.fill(pageNumber, words, first, count) ||
      this.fillAgain(pageNumber, words, first, count)
    );
  }

  private fillAgain(pageNumber: number, words: Int32Array, first: number, count: number): boolean {
    let pause = FIRST_PAUSE_MILLISECONDS;
    for (let left = this.retries; left > 0; left--) {
      this.control.sleep(pause);
      if (this.control.closed) {
        return false; // nobody wants it any more, and it was not given up on
      }
      this.control.countRetry();
      if (this.of.fill(pageNumber, words, first, count)) {
        return true;
      }
      pause = Math.min(2 * pause, LONGEST_PAUSE_MILLISECONDS);
    }
    this.control.countFailure();
    return false;
  }

  compare(pageNumber: number, words: Int32Array, first: number): number {
    return this.of.compare(pageNumber, words, first);
  }
}
