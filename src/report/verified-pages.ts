import type { RunResult } from '../machine/run-result.js';
import type { BenchResult } from './bench-result.js';
import { count } from './figures.js';
import { isRun } from './own-runs.js';

/** What of the runs in some results was verified, in sentences that these runs bear out. */
export function verifiedText(results: readonly (RunResult | BenchResult)[]): string {
  const kept = results.flatMap((result): readonly unknown[] =>
    result.schema === 'faultline.run/1' ? [result] : result.runs,
  );
  const runs = kept.filter(isRun);
  const whole = runs.filter(isVerified);
  const pages = whole.reduce((sum, run) => sum + run.pages.verified!, 0);
  const others = kept.filter((run) => !isRun(run)).flatMap(pagesOf);
  const sentences = [
    ...(runs.length === 0
      ? []
      : [
          `${count(whole.length)} of ${count(runs.length)} runs verified every page touched: ${count(pages)} pages.`,
        ]),
    // Whether these are all that were touched they do not tell.
    ...(others.length === 0
      ? []
      : [
          `${count(others.length)} runs of which less is kept verified ${count(others.reduce((sum, verified) => sum + verified, 0))} pages.`,
        ]),
  ];
  return sentences.length === 0 ? 'No run says that memory was verified.' : sentences.join(' ');
}

function isVerified({ outcome, pages: { touched, verified, mismatched } }: RunResult): boolean {
  return (
    outcome === 'completed' && verified !== null && verified === touched && (mismatched ?? 0) === 0
  );
}

/** Nothing of what has no memory to verify, as parts of the hot path by themselves. */
function pagesOf(run: unknown): number[] {
  const { pagesVerified } = run as { readonly pagesVerified?: unknown };
  return typeof pagesVerified === 'number' ? [pagesVerified] : [];
}
