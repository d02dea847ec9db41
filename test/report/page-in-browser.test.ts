/** The report as a browser shows it: at two widths, light, dark and printed. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'puppeteer-core';
import t from 'tap';
import { compareResults } from '../../src/report/compare.js';
import { compareSection } from '../../src/report/html/compare-section.js';
import { reportPage } from '../../src/report/html/page.js';
import type { Result, ResultFile } from '../../src/report/read-results.js';
import { benchSet, contentionResult, faultsResult, runResult } from '../support/bench-results.js';
import { browserSkip, launchBrowser } from '../support/browser.js';
import { otherBenches } from '../support/other-benches.js';
import { CONTRASTS, CUT_OFF, MARKS, OVERLAPS, TOO_WIDE, UNTITLED } from './in-page.js';

t.setTimeout(60_000);
const skip = browserSkip();

let browser: Browser | null = null;
t.teardown(() => browser?.close());

const file = (name: string, result: Result): ResultFile => ({ path: name, name, result });

/** Opens a page of its own, and what goes wrong in it. */
async function show(
  html: string,
  width: number,
  scheme: 'light' | 'dark' = 'light',
): Promise<{ page: Page; complaints: string[] }> {
  browser ??= await launchBrowser();
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => complaints.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => complaints.push(`error: ${String(error)}`));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    if (!/^(file|data):/.test(request.url())) {
      complaints.push(`request: ${request.url()}`);
    }
  });
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  const directory = t.testdir({ 'report.html': html });
  await page.goto(pathToFileURL(join(directory, 'report.html')).href);
  return { page, complaints };
}

const files = [
  file('set.json', benchSet([faultsResult(), contentionResult(), ...otherBenches()])),
  file('run.json', runResult('exit')),
];
const [before, after] = [
  file('before.json', faultsResult()),
  file('after.json', faultsResult()),
] as const;
const names = [before.name, after.name] as const;

for (const width of [1280, 400]) {
  for (const scheme of ['light', 'dark'] as const) {
    t.test(`at ${width} pixels, ${scheme}`, { skip }, async (t) => {
      const { page, complaints } = await show(reportPage(files), width, scheme);
      t.strictSame(complaints, [], 'nothing is complained of or asked of the network');
      t.strictSame(await page.evaluate(OVERLAPS), [], 'no text is over another');
      t.strictSame(await page.evaluate(CUT_OFF), [], 'no text is cut off');
      t.equal(await page.evaluate(TOO_WIDE), 0, 'it does not scroll sideways');
      t.equal(await page.evaluate(UNTITLED), 0, 'charts have titles and descriptions');
      const contrasts = (await page.evaluate(CONTRASTS)) as {
        text: number;
        series: number;
        dark: boolean;
      };
      t.equal(contrasts.dark, scheme === 'dark');
      t.ok(contrasts.text >= 4.5, `text has a contrast of ${contrasts.text.toFixed(1)}`);
      t.ok(contrasts.series >= 3, `series have a contrast of ${contrasts.series.toFixed(1)}`);
      const marks = new Set((await page.evaluate(MARKS)) as string[]);
      for (const label of ['kernel', 'exit', 'handler']) {
        for (const part of ['fit', 'prediction', 'ranges', 'medians', 'latency', 'p50', 'p99']) {
          t.ok(marks.has(`${label}: ${part}`), `${label}: ${part}`);
        }
      }
      t.ok(marks.has('handler, per-vcpu: joined'), 'without a fit, points are joined');
      t.ok(marks.has('Moorthy 2024, exits: published'));
      for (const part of ['read, waiting', 'read, holding', 'write, waiting', 'write, holding']) {
        t.ok(marks.has(`mmap_lock: ${part}`), `mmap_lock: ${part}`);
      }
      t.ok(marks.has('CPUs of the host'));
      await page.close();
    });
  }
}

t.test('a comparison has both, and fits', { skip }, async (t) => {
  for (const width of [1280, 400]) {
    const section = compareSection(compareResults(before, after), names);
    const { page, complaints } = await show(reportPage([before, after], section), width);
    t.strictSame(complaints, []);
    t.strictSame(await page.evaluate(OVERLAPS), []);
    t.strictSame(await page.evaluate(CUT_OFF), []);
    t.equal(await page.evaluate(TOO_WIDE), 0);
    const marks = (await page.evaluate(MARKS)) as string[];
    t.ok(marks.includes('A: medians') && marks.includes('B: medians'));
    await page.close();
  }
});

t.test('printed, nothing is cut', { skip }, async (t) => {
  const { page } = await show(reportPage(files), 1280, 'dark');
  await page.emulateMediaType('print');
  await page.setViewport({ width: 720, height: 1000 }); // A4 without its margins
  t.equal(await page.evaluate(TOO_WIDE), 0);
  t.strictSame(await page.evaluate(CUT_OFF), []);
  t.strictSame(await page.evaluate(OVERLAPS), []);
  const { dark, text } = (await page.evaluate(CONTRASTS)) as { dark: boolean; text: number };
  t.notOk(dark, 'paper is white');
  t.ok(text >= 4.5);
  t.ok((await page.pdf({ format: 'A4' })).length > 10_000);
  await page.close();
});

t.test('text of a result stays text', { skip }, async (t) => {
  const attack = `"><img src=x onerror=alert(1)></title></style><script>alert(2)</script>' onload='alert(3)`;
  const [curve, ...curves] = faultsResult().summary.curves;
  const hostile = faultsResult([{ ...curve!, label: attack }, ...curves]);
  const set = benchSet([
    { ...hostile, command: attack, startedAt: attack, constant: { [attack]: attack } },
    { ...contentionResult(), bench: attack },
  ]);
  const { page, complaints } = await show(reportPage([file(attack, set)]), 1280);
  t.strictSame(complaints, []);
  t.equal(await page.evaluate('document.querySelectorAll("script, img, [onload]").length'), 0);
  t.ok(await page.evaluate(`document.body.textContent.includes(${JSON.stringify(attack)})`));
  await page.close();
});

t.test('screenshots, to be looked at', { skip }, async (t) => {
  for (const [width, scheme] of [
    [1280, 'light'],
    [400, 'dark'],
  ] as const) {
    const { page } = await show(reportPage(files), width, scheme);
    // FAULTLINE_SCREENSHOTS=directory keeps them.
    const directory = process.env.FAULTLINE_SCREENSHOTS ?? t.testdir({});
    const path = join(directory, `report-${width}-${scheme}.png`) as `${string}.png`;
    const picture = await page.screenshot({ fullPage: true, path });
    t.ok(picture.length > 100_000, `${path}: ${picture.length} bytes`);
    await page.close();
  }
});
