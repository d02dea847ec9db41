import type { ThreadHistograms } from '../measure/histogram.js';
import { type PageSource, WORDS_PER_PAGE } from '../source/page-source.js';
import type { FaultTiming } from './fault-timing.js';

/** Enough for the compiler to have optimized what is rehearsed; about 5 ms. */
const REHEARSALS = 1000;

/**
 * Goes through the motions of a fault on memory of no consequence, before the thread says that it
 * is ready: a guest's first two thousand faults otherwise cost 13 µs more each, while the engine
 * still interprets. Leaves the histograms as they were, at zero.
 *
 * @param takeSignal what the thread does first at a fault; without one pending it does nothing
 */
export function rehearse(
  source: PageSource,
  timing: FaultTiming,
  takeSignal: () => void,
  histograms: ThreadHistograms,
): void {
  const practice = new Int32Array(WORDS_PER_PAGE);
  for (let page = 0; page < REHEARSALS; page++) {
    timing.arrived();
    takeSignal();
    timing.identified();
    timing.beforeAllocate();
    timing.afterAllocate();
    source.fill(page, practice, 0, WORDS_PER_PAGE);
    timing.beforeContinue();
    timing.afterContinue();
    timing.resolved();
  }
  for (const histogram of [histograms.resolve, histograms.user, histograms.allocate]) {
    histogram.fill(0);
  }
}
