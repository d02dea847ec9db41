import type { RunResult } from '../machine/run-result.js';
import type { BenchResult } from './bench-result.js';
import { count } from './figures.js';
import { isRun } from './own-runs.js';

/** What of the runs in some results was verified, in a sentence that these runs bear out. */
export function verifiedText(results: readonly (RunResult | BenchResult)[]): string {
  const runs = results
    .flatMap((result): readonly unknown[] =>
      result.schema === 'faultline.run/1' ? [result] : result.runs,
    )
    .flatMap(verifiedOf);
  const whole = runs.filter((run) => run.whole);
  const pages = whole.reduce((sum, run) => sum + run.pages, 0);
  if (runs.length === 0) {
    return 'No run in it says that memory was verified.';
  }
  const all = runs.length === 1 ? 'The only run' : `All ${count(runs.length)} runs`;
  return whole.length === runs.length
    ? `${all} in it verified every page touched: ${count(pages)} pages.`
    : `${count(whole.length)} of ${count(runs.length)} runs in it verified every page touched: ${count(pages)} pages.`;
}

interface Verified {
  readonly pages: number;
  /** Whether these are all that were touched, and right. */
  readonly whole: boolean;
}

/** Nothing of what has no memory to verify, as parts of the hot path by themselves. */
function verifiedOf(run: unknown): Verified[] {
  if (isRun(run)) {
    const { touched, verified, mismatched } = run.pages;
    const whole = run.outcome === 'completed' && verified !== null && verified === touched;
    return [{ pages: verified ?? 0, whole: whole && (mismatched ?? 0) === 0 }];
  }
  const { pagesVerified } = run as { readonly pagesVerified?: unknown };
  return typeof pagesVerified === 'number' ? [{ pages: pagesVerified, whole: true }] : [];
}
