import { accessSync, constants, existsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command, Option } from 'commander';
import type { Bench, BenchResult } from '../../bench/scale/bench.js';
import { BENCHES } from '../../bench/scale/registry.js';
import { UsageError } from '../ffi/errors.js';
import { interruptible } from './interrupt.js';
import { parseWhole } from './option-values.js';
import { ProgressLine } from './progress.js';

interface BenchFlags {
  readonly pages?: number;
  readonly repeat?: number;
  readonly vcpus?: number;
  readonly json?: string;
  readonly list?: true;
}

export function benchCommand(): Command {
  return new Command('bench')
    .description('measures, and verifies the memory of every run it measures')
    .argument('[NAME]', 'which bench (--list)')
    .addOption(
      new Option('--pages <N>', 'pages of 4 KiB each run touches (default 16384)').argParser(
        parseWhole,
      ),
    )
    .addOption(
      new Option('--repeat <N>', 'repetitions or pairs (default: see --list)').argParser(
        parseWhole,
      ),
    )
    .addOption(
      new Option('--vcpus <N>', 'vCPUs, where the bench allows it (default 1)').argParser(
        parseWhole,
      ),
    )
    .option('--json <FILE>', 'writes the result there, - for stdout')
    .option('--list', 'lists the benches')
    .addHelpText('after', '\nExample:\n  faultline bench overhead --repeat 7 --json overhead.json')
    .action(async (name: string | undefined, flags: BenchFlags) => {
      if (flags.list) {
        process.stdout.write(list());
        return;
      }
      const bench = BENCHES.find((candidate) => candidate.name === name);
      if (bench === undefined) {
        throw new UsageError(
          name === undefined ? 'bench needs a NAME' : `there is no bench ${name}`,
          'See faultline bench --list.',
        );
      }
      await run(bench, flags);
    });
}

async function run(bench: Bench, flags: BenchFlags): Promise<void> {
  for (const [flag, value] of [
    ['--pages', flags.pages],
    ['--repeat', flags.repeat],
  ] as const) {
    if (value === 0) {
      throw new UsageError(`${flag} must be at least 1`);
    }
  }
  if (flags.json !== undefined && flags.json !== '-') {
    checkWritable(flags.json); // before minutes of work, not after
  }
  if (flags.vcpus !== undefined && !bench.takesVcpus) {
    throw new UsageError(`bench ${bench.name} takes no --vcpus`);
  }
  let progress: ProgressLine | null = null;
  let behind = 0;
  const { pages, repeat, vcpus } = flags;
  let result: BenchResult<unknown, unknown>;
  try {
    result = await interruptible((signal) =>
      bench.run({
        ...(pages !== undefined && { pages }),
        ...(repeat !== undefined && { repeat }),
        ...(vcpus !== undefined && { vcpus }),
        signal,
        onStep: (done, total, step) => {
          progress ??= new ProgressLine(total);
          behind = done;
          progress.step(done, step);
        },
        onProgress: (within) => progress?.within(behind, within),
      }),
    );
  } finally {
    // Assigned in a callback, which the compiler does not follow.
    (progress as ProgressLine | null)?.stop();
  }
  if (flags.json === '-') {
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  process.stdout.write(`${bench.describe(result)}\n`);
  if (flags.json !== undefined) {
    writeFileSync(flags.json, `${JSON.stringify(result, null, 2)}\n`);
  }
}

/** Without creating the file: an interrupted bench leaves nothing. */
function checkWritable(path: string): void {
  try {
    accessSync(existsSync(path) ? path : dirname(path), constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`--json ${path} cannot be written (${code ?? 'unknown error'})`, '', {
      cause: error,
    });
  }
}

function list(): string {
  return BENCHES.map(
    ({ name, description, defaults }) =>
      `${name}: ${description} (${defaults.pages} pages, ${defaults.repeat} repetitions)\n`,
  ).join('');
}
