import { accessSync, constants, existsSync, statSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname } from 'node:path';
import { Command, Option } from 'commander';
import type { Bench, BenchChoices, BenchResult } from '../../bench/scale/bench.js';
import { BENCHES } from '../../bench/scale/registry.js';
import { memoryFor } from '../../bench/scale/verified-run.js';
import { UnsupportedError, UsageError } from '../ffi/errors.js';
import { MAX_MEMORY_BYTES } from '../machine/guest-physical-map.js';
import type { BackingName } from '../memory/backing.js';
import { findBacking } from '../memory/open-backing.js';
import { formatSize } from '../memory/sizes.js';
import { interruptible } from './interrupt.js';
import { listOf, parseNetwork, parseSize, parseWhole } from './option-values.js';
import { ProgressLine } from './progress.js';

interface BenchFlags extends BenchChoices {
  readonly json?: string;
  readonly list?: true;
}

export function benchCommand(): Command {
  return new Command('bench')
    .description(
      'measures, and verifies the memory of every run; --list says what each bench takes',
    )
    .argument('[NAME]', 'which bench (--list)')
    .addOption(new Option('--pages <N>', 'pages of 4 KiB each run touches').argParser(parseWhole))
    .addOption(new Option('--repeat <N>', 'repetitions or pairs').argParser(parseWhole))
    .addOption(new Option('--vcpus <N>', 'vCPUs (default 1)').argParser(parseWhole))
    .addOption(
      new Option(
        '--backing <LIST>',
        'kinds of memory, as shmem,hugetlb-2M (see run --help; default: those that differ)',
      ).argParser(listOf((name) => findBacking(name).name as BackingName)),
    )
    .addOption(
      new Option(
        '--network <LIST>',
        'networks, as 1G:100,10G:30: bits per second (K, M, G are powers of 1000) and latency in microseconds',
      ).argParser(listOf(parseNetwork)),
    )
    .addOption(
      new Option('--unit <LIST>', 'fault units, as 4K,64K,2M').argParser(listOf(parseSize)),
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

async function run(bench: Bench, { json, list: _list, ...choices }: BenchFlags): Promise<void> {
  checkChoices(bench, choices);
  if (json !== undefined && json !== '-') {
    checkWritable(json); // before minutes of work, not after
  }
  let progress: ProgressLine | null = null;
  let behind = 0;
  let result: BenchResult<unknown, unknown>;
  try {
    result = await interruptible((signal) =>
      bench.run({
        ...choices,
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
  if (json === '-') {
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  process.stdout.write(`${bench.describe(result)}\n`);
  if (json !== undefined) {
    writeResult(json, `${JSON.stringify(result, null, 2)}\n`);
  }
}

function writeResult(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UnsupportedError(
      `--json ${path} could not be written (${code ?? 'unknown error'})`,
      'Name a file where there is room. The result is above.',
      { cause: error },
    );
  }
}

function checkChoices(bench: Bench, choices: BenchChoices): void {
  for (const [name, value] of Object.entries(choices)) {
    if (!(bench.takes as readonly string[]).includes(name)) {
      const takes = bench.takes.map((option) => `--${option}`).join(', ');
      throw new UsageError(`bench ${bench.name} takes no --${name}`, `It takes ${takes}.`);
    }
    if (value === 0) {
      throw new UsageError(`--${name} must be at least 1`);
    }
  }
  if (choices.pages !== undefined) {
    checkPages(choices.pages);
  }
}

/** Of what --pages means for a guest's memory, which the caller has not named. */
function checkPages(pages: number): void {
  const bytes = memoryFor(pages);
  const takes = `--pages ${pages} takes ${formatSize(bytes)} of guest memory`;
  if (bytes > MAX_MEMORY_BYTES) {
    throw new UsageError(`${takes}, and a guest has ${formatSize(MAX_MEMORY_BYTES)} at most`);
  }
  if (bytes > totalmem()) {
    throw new UnsupportedError(`${takes}, which is more than this host has`, 'Use fewer pages.');
  }
}

/** Without creating the file: an interrupted bench leaves nothing. */
function checkWritable(path: string): void {
  try {
    accessSync(existsSync(path) ? path : dirname(path), constants.W_OK);
    if (existsSync(path) && statSync(path).isDirectory()) {
      throw Object.assign(new Error('it is a directory'), { code: 'EISDIR' });
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`--json ${path} cannot be written (${code ?? 'unknown error'})`, '', {
      cause: error,
    });
  }
}

function list(): string {
  return BENCHES.map(
    ({ name, description, extent, takes }) =>
      `${name}: ${description} (${extent}; takes ${takes.map((option) => `--${option}`).join(', ')})\n`,
  ).join('');
}
