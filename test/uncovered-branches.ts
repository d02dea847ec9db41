/**
 * Names every branch of the fault loop that was not executed, from what `c8 report` made of V8's own
 * coverage of the built JavaScript: run by `make coverage`.
 */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

/** Of istanbul's format: a source file, by its path. */
interface FileCoverage {
  readonly path: string;
  readonly branchMap: Readonly<Record<string, { readonly locations: readonly Location[] }>>;
  /** How often each location of each branch was executed. */
  readonly b: Readonly<Record<string, readonly number[]>>;
}

interface Location {
  readonly start: { readonly line: number; readonly column: number };
}

const [, , report, ...wanted] = process.argv;
const files = Object.values(
  JSON.parse(readFileSync(report!, 'utf8')) as Readonly<Record<string, FileCoverage>>,
).map((file) => ({ ...file, path: relative('.', file.path) }));

let missing = 0;
for (const path of wanted) {
  const file = files.find((one) => one.path === path);
  if (file === undefined) {
    console.log(`${path}: not loaded by any test`);
    missing++;
    continue;
  }
  const lines = readFileSync(path, 'utf8').split('\n');
  for (const [branch, { locations }] of Object.entries(file.branchMap)) {
    locations.forEach(({ start }, index) => {
      if (file.b[branch]![index] === 0) {
        console.log(`${path}:${start.line}:${start.column + 1}: ${lines[start.line - 1]!.trim()}`);
        missing++;
      }
    });
  }
}
const branches = files
  .filter(({ path }) => wanted.includes(path))
  .flatMap(({ b }) => Object.values(b).flat()).length;
console.log(`${branches - missing} of ${branches} branches were executed`);
process.exitCode = missing === 0 ? 0 : 1;
