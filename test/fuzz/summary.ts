/**
 * Says what a run of the fuzz tests tried: cases of each kind, seeds, time. It fails when one of
 * them failed, or fewer cases than were asked for were tried.
 *
 *     node dist/test/fuzz/summary.js dist/fuzz.jsonl
 */
import { readFileSync } from 'node:fs';
import { casesOf, type PropertyName, type PropertyResult, SHARES } from './cases.js';

const results = readFileSync(process.argv[2]!, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as PropertyResult);

console.log(`\n${'cases'.padStart(8)} ${'seconds'.padStart(8)} ${'seed'.padStart(11)}  property`);
for (const { name, cases, seed, seconds, ok } of results) {
  const verdict = ok ? '' : '  FAILED';
  console.log(
    `${String(cases).padStart(8)} ${seconds.toFixed(1).padStart(8)} ${String(seed).padStart(11)}  ${name}${verdict}`,
  );
}
const total = results.reduce((sum, { cases }) => sum + cases, 0);
const seconds = results.reduce((sum, result) => sum + result.seconds, 0);
const failed = results.filter(({ ok }) => !ok).length;
const absent = (Object.keys(SHARES) as PropertyName[]).filter(
  (name) => !results.some((result) => result.name === name && result.cases >= casesOf(name)),
);
console.log(`\n${total} cases in ${seconds.toFixed(0)} s, ${failed} properties failed`);
if (absent.length > 0) {
  console.log(`not tried in full: ${absent.join(', ')}`);
}
process.exitCode = failed > 0 || absent.length > 0 ? 1 : 0;
