import { totalmem } from 'node:os';
import { Command, Option } from 'commander';
import type { Bench, BenchChoices, BenchOptions } from '../../bench/scale/bench.js';
import { memoryFor } from '../../bench/scale/verified-run.js';
import { UnsupportedError, UsageError } from '../ffi/errors.js';
import { DELIVERY_NAMES } from '../machine/delivery.js';
import { MAX_MEMORY_BYTES } from '../machine/guest-physical-map.js';
import { UFFD_SPLITS } from '../machine/machine-config.js';
import { DEFAULT_WRITES_PER_SECOND } from '../machine/writers.js';
import type { BackingName } from '../memory/backing.js';
import { findBacking } from '../memory/open-backing.js';
import { formatSize } from '../memory/sizes.js';
import { type DescribedBench, listBenches, listTaken, optionOf, showHelp } from './bench-help.js';
import { interruptible } from './interrupt.js';
import {
  listOf,
  oneOf,
  parseHandlers,
  parseNetwork,
  parsePin,
  parseSeconds,
  parseSize,
  parseWhole,
} from './option-values.js';
import { checkWritable, writeOutput } from './output-file.js';
import { ProgressLine } from './progress.js';

type BenchSetModule = typeof import('../../bench/scale/all.js');

interface BenchFlags extends BenchChoices {
  readonly json?: string;
  readonly list?: true;
  readonly help?: true;
}

export function benchCommand(): Command {
  return new Command('bench')
    .description(
      'measures, and verifies the memory of every run; --list says what each bench takes',
    )
    .argument('[NAME]', 'which bench (--list), or all')
    .addOption(new Option('--pages <N>', 'pages of 4 KiB each run touches').argParser(parseWhole))
    .addOption(new Option('--repeat <N>', 'repetitions or pairs').argParser(parseWhole))
    .addOption(new Option('--vcpus <LIST>', 'vCPUs, as 1,2,4').argParser(listOf(parseWhole)))
    .addOption(
      new Option('--delivery <LIST>', 'as kernel,handler,exit').argParser(
        listOf(oneOf(DELIVERY_NAMES)),
      ),
    )
    .addOption(
      new Option(
        '--handlers <LIST>',
        'handler threads, as 1,2,vcpus: the last is as many as there are vCPUs',
      ).argParser(listOf(parseHandlers)),
    )
    .addOption(
      new Option('--uffds <LIST>', 'userfaultfds: one, per-vcpu').argParser(
        listOf(oneOf(UFFD_SPLITS)),
      ),
    )
    .addOption(
      new Option('--share <LIST>', 'which pages each vCPU touches: partition, overlap').argParser(
        listOf(oneOf(['partition', 'overlap'])),
      ),
    )
    .addOption(
      new Option('--order <LIST>', 'in which order: sequential, random').argParser(
        listOf(oneOf(['sequential', 'random'])),
      ),
    )
    .addOption(
      new Option(
        '--delay-microseconds <N>',
        'an imitated network fetch: how much later each page is here',
      ).argParser(parseWhole),
    )
    .addOption(
      new Option('--pin <SPEC>', 'CPUs of threads: vcpu=0,1;handler=1').argParser(parsePin),
    )
    .addOption(
      new Option(
        '--writers <LIST>',
        'threads that change the address space elsewhere meanwhile, as 0,1,4',
      ).argParser(listOf(parseWhole)),
    )
    .addOption(
      new Option(
        '--writer-rate <N>',
        `changes each of them makes in a second (default: ${DEFAULT_WRITES_PER_SECOND})`,
      ).argParser(parseWhole),
    )
    .addOption(
      new Option('--reference <LIST>', 'published curves to lay over ours').argParser(
        listOf((name) => name),
      ),
    )
    .addOption(
      new Option(
        '--backing <LIST>',
        'kinds of memory, as shmem,hugetlb-2M (see run --help; default: shmem; in units, those that differ)',
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
    .addOption(
      new Option('--minutes <N>', 'for how long; a run that has begun is finished').argParser(
        parseSeconds,
      ),
    )
    .addOption(new Option('--seed <N>', 'of what is drawn by lot').argParser(parseWhole))
    .option('--json <FILE>', 'writes the result there, - for stdout')
    .option('--list', 'lists the benches')
    .helpOption(false) // which options there are depends on the NAME
    .option('-h, --help', 'shows this; after a NAME, what that bench takes')
    .action(async (name: string | undefined, flags: BenchFlags, command: Command) => {
      // The numerical libraries behind them take a quarter of a second to load.
      const set = await import('../../bench/scale/all.js');
      const { BENCHES } = await import('../../bench/scale/registry.js');
      const described: readonly DescribedBench[] = [...BENCHES, { ...set.ALL, takes: [] }];
      if (flags.list) {
        process.stdout.write(listBenches(described, command, process.stdout.columns));
        return;
      }
      const named = described.find((candidate) => candidate.name === name);
      if (flags.help && (name === undefined || named !== undefined)) {
        showHelp(command, named ?? null);
        return;
      }
      if (name === set.ALL.name) {
        await runSet(set, flags);
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
  const { json, list: _list, help: _help, ...choices } = flags;
  checkChoices(bench.name, bench.takes, choices);
  await report(
    json,
    true,
    (options) => bench.run({ ...choices, ...options }),
    (result) => bench.describe(result),
  );
}

/** All benches, each in brief. */
async function runSet(
  { ALL, runAll, describeAll }: BenchSetModule,
  flags: BenchFlags,
): Promise<void> {
  const { json, list: _list, help: _help, ...choices } = flags;
  checkChoices(ALL.name, [], choices);
  await report(json, false, runAll, (set) => describeAll(set));
}

/**
 * Measures, with progress on stderr, and gives the result.
 *
 * @param steps whether it is steps that `measure` counts
 */
async function report<Result>(
  json: string | undefined,
  steps: boolean,
  measure: (options: BenchOptions) => Promise<Result>,
  describe: (result: Result) => string,
): Promise<void> {
  if (json !== undefined && json !== '-') {
    checkWritable('--json', json); // before minutes of work, not after
  }
  let progress: ProgressLine | null = null;
  let behind = 0;
  let result: Result;
  try {
    result = await interruptible((signal) =>
      measure({
        signal,
        onStep: (done, total, step) => {
          progress ??= new ProgressLine(total, steps);
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
  process.stdout.write(`${describe(result)}\n`);
  if (json !== undefined) {
    const text = `${JSON.stringify(result, null, 2)}\n`;
    writeOutput('--json', json, text, ' The result is above.');
  }
}

const MAY_BE_ZERO = new Set(['delayMicroseconds', 'writers']);

function checkChoices(
  bench: string,
  takes: readonly (keyof BenchChoices)[],
  choices: BenchChoices,
): void {
  for (const [name, value] of Object.entries(choices)) {
    const option = optionOf(name);
    if (!(takes as readonly string[]).includes(name)) {
      throw new UsageError(`bench ${bench} takes no ${option}`, `It takes ${listTaken(takes)}.`);
    }
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (values.includes(0) && !MAY_BE_ZERO.has(name)) {
      throw new UsageError(`${option} must be at least 1`);
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
