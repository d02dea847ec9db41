import t from 'tap';
import { reportPage } from '../../src/report/html/page.js';
import { verifiedText } from '../../src/report/verified-pages.js';
import { contentionResult, runResult } from '../support/bench-results.js';
import { otherBenches } from '../support/other-benches.js';

t.test('what is said to be verified follows from the runs', async (t) => {
  const run = runResult();
  t.equal(
    verifiedText([contentionResult(), run]),
    '3 of 3 runs verified every page touched: 24,576 pages.',
  );
  t.equal(verifiedText([run]), '1 of 1 runs verified every page touched: 8,192 pages.');
  for (const bad of [
    { ...run, outcome: 'timeout' },
    { ...run, pages: { ...run.pages, mismatched: 1 } },
    { ...run, pages: { ...run.pages, verified: 8191 } },
    { ...run, pages: { ...run.pages, verified: null, touched: null } },
  ] as const) {
    t.equal(verifiedText([run, bad]), '1 of 2 runs verified every page touched: 8,192 pages.');
  }
  const soak = otherBenches().find(({ bench }) => bench === 'soak')!;
  const kept = '1 runs of which less is kept verified 900 pages.';
  t.equal(verifiedText([soak]), kept);
  t.match(verifiedText([run, soak]), `8,192 pages. ${kept}`);
  t.match(verifiedText([{ ...soak, runs: [] }]), /^No run/);
});

t.test('a page says no more than that', async (t) => {
  const result = { ...runResult(), outcome: 'timeout' } as const;
  const page = reportPage([{ path: 'a', name: 'a', result }]);
  t.match(page, '0 of 1 runs verified every page touched: 0 pages.');
});
