import { realpathSync } from 'node:fs';
import { Command } from 'commander';
import type { Bench } from '../../bench/scale/bench.js';
import { FaultlineError, UsageError } from '../ffi/errors.js';
import type { BenchResult } from '../report/bench-result.js';
import type { Comparisons } from '../report/compare.js';
import type { ResultFile } from '../report/read-results.js';
import { describeRun } from '../report/run-report.js';
import { visible } from '../report/visible-text.js';
import { checkWritable, writeOutput } from './output-file.js';

interface ReportFlags {
  readonly out?: string;
}

export function reportCommand(): Command {
  return new Command('report')
    .description(
      'draws results as one HTML page that needs nothing else; compares two of them, in text',
    )
    .argument('<FILE...>', 'what run --json, or bench with --json FILE, has written')
    .option('--out <FILE>', 'writes the page there, - for stdout')
    .addHelpText(
      'after',
      '\nOne file without --out: its result in text. Two: what they have in common side by side, and whether\ntheir differences exceed the noise within each. More are drawn one after the other, with --out.\n\nExamples:\n  faultline report faults.json contention.json --out report.html\n  faultline report before.json after.json',
    )
    .action(report);
}

/** The libraries it needs, which draw and check, are loaded here: other commands do without. */
async function report(paths: readonly string[], { out }: ReportFlags): Promise<void> {
  const { readResult } = await import('../report/read-results.js');
  if (out !== undefined && out !== '-') {
    checkOut(out, paths);
  }
  const files = paths.map(readResult);
  const [a, b] = files as [ResultFile, ResultFile | undefined];
  if (files.length > 2 && out === undefined) {
    throw new UsageError(
      `${files.length} results are drawn, not compared`,
      'Give --out FILE.html, or two files.',
    );
  }
  const compared = files.length === 2 ? await compare(a, b!, out !== undefined) : null;
  const text =
    compared !== null
      ? compared.text
      : files.length === 1 && out === undefined
        ? await describe(a)
        : null;
  if (text !== null && out !== '-') {
    process.stdout.write(`${text}\n`);
  }
  if (out === undefined) {
    return;
  }
  const page = await draw(files, compared?.comparisons ?? null);
  if (out === '-') {
    process.stdout.write(page);
    return;
  }
  writeOutput('--out', out, page);
  process.stderr.write(`wrote ${visible(out)}, ${Math.ceil(page.length / 1024)} KiB\n`);
}

/** A result is not written over. */
function checkOut(out: string, paths: readonly string[]): void {
  checkWritable('--out', out);
  const real = (path: string): string | null => {
    try {
      return realpathSync(path);
    } catch {
      return null; // not there: for --out as it should be, of a result reading will say so
    }
  };
  if (real(out) !== null && paths.some((path) => real(path) === real(out))) {
    throw new UsageError(`--out ${out} is one of the results`, 'Name another file.');
  }
}

async function compare(
  a: ResultFile,
  b: ResultFile,
  drawn: boolean,
): Promise<{ comparisons: Comparisons; text: string }> {
  const [{ compareResults }, { describeComparisons }] = await Promise.all([
    import('../report/compare.js'),
    import('../report/compare-report.js'),
  ]);
  return holdsTogether([a, b], () => {
    const comparisons = compareResults(a, b);
    if (comparisons.comparisons.length === 0 && !drawn) {
      throw new UsageError(
        `${a.path} and ${b.path} cannot be compared: ${comparisons.refusals.slice(0, 4).join('; ')}`,
        'With --out FILE.html both are drawn, one after the other.',
      );
    }
    return { comparisons, text: describeComparisons(comparisons, [a.path, b.path]) };
  });
}

async function draw(
  files: readonly ResultFile[],
  comparisons: Comparisons | null,
): Promise<string> {
  const [{ reportPage }, { compareSection }] = await Promise.all([
    import('../report/html/page.js'),
    import('../report/html/compare-section.js'),
  ]);
  return holdsTogether(files, () => {
    const [a, b] = files;
    return reportPage(
      files,
      comparisons === null ? null : compareSection(comparisons, [a!.path, b!.path]),
    );
  });
}

/** A result in text, as the command that made it has shown it. */
async function describe(file: ResultFile): Promise<string> {
  const { result } = file;
  const { BENCHES } = await import('../../bench/scale/registry.js');
  const text = holdsTogether([file], () => {
    switch (result.schema) {
      case 'faultline.run/1':
        return describeRun(result);
      case 'faultline.bench/1':
        return describeBench(BENCHES, result);
      case 'faultline.benches/1':
        return result.results
          .map((bench) => `bench ${bench.bench}\n\n${describeBench(BENCHES, bench)}`)
          .join('\n\n');
    }
  });
  return visible(text);
}

function describeBench(benches: readonly Bench[], result: BenchResult): string {
  return (
    benches.find(({ name }) => name === result.bench)?.describe(result) ??
    `This version of faultline does not know the bench ${result.bench}. How to do it again: ${result.command}`
  );
}

/**
 * A schema cannot say everything: figures that are of each other's number, rows that are there. A
 * file that follows its schema and is nonsense all the same is refused as well.
 */
function holdsTogether<Value>(files: readonly ResultFile[], action: () => Value): Value {
  try {
    return action();
  } catch (error) {
    if (error instanceof FaultlineError) {
      throw error;
    }
    throw new UsageError(
      `${files.map(({ path }) => path).join(', ')}: what is in it does not fit together`,
      'It wants what run --json, or bench with --json FILE, has written.',
      { cause: error },
    );
  }
}
