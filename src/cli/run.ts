import { Command, Option } from 'commander';
import { WRITER_CALLS, type WriterCalls } from '../fault/address-space-writer.js';
import { UsageError } from '../ffi/errors.js';
import { BUNDLED_GUESTS } from '../machine/bundled-guests.js';
import { DELIVERY_NAMES, EXITS_BY, hasHandlers } from '../machine/delivery.js';
import {
  DEFAULT_SOURCE_RETRIES,
  LOAD_POLICIES,
  MEMORY_ERROR_POLICIES,
  type RunOptions,
  STRATEGIES,
  UFFD_SPLITS,
} from '../machine/machine-config.js';
import { COLLAPSE_POLICIES } from '../machine/refusals.js';
import { runGuest } from '../machine/run-guest.js';
import type { RunResult } from '../machine/run-result.js';
import { DEFAULT_WRITES_PER_SECOND, writersOf } from '../machine/writers.js';
import { BACKING_KINDS } from '../memory/backing.js';
import { formatSize } from '../memory/sizes.js';
import { describeRun } from '../report/run-report.js';
import { consoleWriter } from './console-text.js';
import { statusOfRun } from './exit-status.js';
import { interrupt, interruptible } from './interrupt.js';
import {
  parseAddresses,
  parseAround,
  parseBackground,
  parseFault,
  parseNetwork,
  parseParam,
  parsePin,
  parseSeconds,
  parseSize,
  parseSource,
  parseWhole,
} from './option-values.js';
import { RunProgress } from './progress.js';
import { typedInput } from './typed-input.js';

export interface RunFlags {
  readonly firmware?: string;
  readonly memory: number;
  readonly backing: NonNullable<RunOptions['backing']>;
  readonly reserve: boolean;
  readonly delivery: NonNullable<RunOptions['delivery']>;
  readonly exitBy: NonNullable<RunOptions['exitBy']>;
  readonly strategy: NonNullable<RunOptions['strategy']>;
  readonly unit?: number;
  readonly around: NonNullable<RunOptions['around']>;
  readonly collapse: NonNullable<RunOptions['collapse']>;
  readonly prefetch: NonNullable<RunOptions['prefetch']> | null;
  readonly discard: NonNullable<RunOptions['discard']> | null;
  readonly writers: number;
  readonly writerRate?: number;
  readonly writerCalls: WriterCalls;
  readonly vcpus: number;
  readonly handlers?: number;
  readonly uffds: NonNullable<RunOptions['uffds']>;
  readonly source: NonNullable<RunOptions['source']>;
  readonly network?: NonNullable<RunOptions['network']>;
  readonly delayMicroseconds: number;
  readonly poison?: readonly number[];
  readonly onMemoryError: NonNullable<RunOptions['onMemoryError']>;
  readonly failSource?: NonNullable<RunOptions['failSource']>;
  readonly sourceRetries: number;
  readonly load: NonNullable<RunOptions['load']>;
  readonly cmdline?: string;
  readonly initrd?: string;
  readonly pin?: NonNullable<RunOptions['pin']>;
  readonly param?: Readonly<Record<string, string>>;
  readonly timeout: number;
  readonly count: boolean;
  readonly json?: true;
  readonly rawConsole?: true;
  readonly list?: true;
}

const MEBIBYTE = 2 ** 20;

export function runCommand(): Command {
  return new Command('run')
    .description('boots a guest on demand-paged memory and reports what its faults cost')
    .argument(
      '[IMAGE]',
      'a bundled guest (--list), or the path of a flat binary, ELF64 image, PVH kernel or bzImage',
    )
    .option(
      '--firmware <FILE>',
      "boots a PC's firmware instead of an IMAGE, from the reset vector; its debug port is the console",
    )
    .addOption(
      new Option('--memory <SIZE>', 'guest RAM')
        .argParser(parseSize)
        .default(256 * MEBIBYTE, formatSize(256 * MEBIBYTE)),
    )
    .addOption(
      new Option(
        '--backing <KIND>',
        `where guest pages come from: ${[...BACKING_KINDS, 'file:PATH', 'file-private:PATH'].join(', ')}`,
      ).default('shmem'),
    )
    .option(
      '--no-reserve',
      'takes hugetlb pages as they are needed: the pool can run dry while the guest runs',
    )
    .addOption(
      new Option('--delivery <HOW>', 'how a touch of a missing page reaches us')
        .choices(['auto', ...DELIVERY_NAMES])
        .default('auto'),
    )
    .addOption(
      new Option('--exit-by <WHAT>', 'under delivery exit, what ends KVM_RUN on a missing page')
        .choices(['auto', ...EXITS_BY])
        .default('auto'),
    )
    .addOption(
      new Option(
        '--strategy <NAME>',
        'if a page exits again after it was mapped: bring it back, or call it a memory error',
      )
        .choices(STRATEGIES)
        .default('no-slow-gup'),
    )
    .addOption(
      new Option(
        '--unit <SIZE>',
        'bytes brought in per fault, a power of two up to 2M (default: page size)',
      ).argParser(parseSize),
    )
    .addOption(
      new Option('--around <N>', 'neighbouring units brought in with each fault, or adaptive')
        .argParser(parseAround)
        .default(0),
    )
    .addOption(
      new Option(
        '--collapse <WHEN>',
        'makes complete blocks of 2 MiB huge pages: as soon as they are complete, or at the end',
      )
        .choices(COLLAPSE_POLICIES)
        .default('never'),
    )
    .addOption(
      new Option(
        '--prefetch <WHAT>',
        'brings missing pages in meanwhile: none, background[:BYTES_PER_SECOND]',
      )
        .argParser(parseBackground)
        .default(null, 'none'),
    )
    .addOption(
      new Option(
        '--discard <WHAT>',
        'discards pages at random meanwhile: none, background[:BYTES_PER_SECOND] (64M)',
      )
        .argParser(parseBackground)
        .default(null, 'none'),
    )
    .addOption(
      new Option(
        '--writers <N>',
        'threads that change the address space elsewhere meanwhile (mmap, mprotect, MADV_DONTNEED, munmap)',
      )
        .argParser(parseWhole)
        .default(0, 'none'),
    )
    .addOption(
      new Option(
        '--writer-rate <N>',
        `changes each of them makes in a second (default: ${DEFAULT_WRITES_PER_SECOND})`,
      ).argParser(parseWhole),
    )
    .addOption(
      new Option('--writer-calls <WHICH>', 'all of these, or mprotect of 64 MiB again and again')
        .choices(WRITER_CALLS)
        .default('mixed'),
    )
    .addOption(new Option('--vcpus <N>', '1 to 64').argParser(parseWhole).default(1))
    .addOption(
      new Option('--handlers <N>', 'handler threads, for delivery handler (default: 1)').argParser(
        parseWhole,
      ),
    )
    .addOption(
      new Option('--uffds <HOW>', 'how many userfaultfds the memory is split over')
        .choices(UFFD_SPLITS)
        .default('one'),
    )
    .addOption(
      new Option('--source <WHAT>', 'what a missing page contains: zero, pattern[:SEED]')
        .argParser(parseSource)
        .default({ kind: 'pattern', seed: 1 }, 'pattern:1'),
    )
    .addOption(
      new Option(
        '--network <RATE>',
        'imitates a network that missing pages come over: BITS_PER_SECOND[:LATENCY_MICROSECONDS], as 10G:50; here K, M, G are powers of 1000, for it is a bit rate (default: none)',
      ).argParser(parseNetwork),
    )
    .addOption(
      new Option(
        '--delay-microseconds <N>',
        'an imitated fetch: how much later each page is here, requests of several threads at a time',
      )
        .argParser(parseWhole)
        .default(0),
    )
    .addOption(
      new Option(
        '--poison <GPA,…>',
        'GPAs whose fault units fail when they are touched, as 0x300000; not those of the image; may be given often',
      ).argParser(parseAddresses),
    )
    .addOption(
      new Option(
        '--on-memory-error <WHAT>',
        'when a vCPU touches memory that failed: tell the guest by a machine check, or stop with a report',
      )
        .choices(MEMORY_ERROR_POLICIES)
        .default('stop'),
    )
    .addOption(
      new Option(
        '--fail-source <WHAT>',
        'makes the source misbehave while the guest runs, as page=0x200000:2 (fails twice), every=100 (one request in 100 fails), delay=50 (milliseconds a request), throw=0x200000; may be given often',
      ).argParser(parseFault),
    )
    .addOption(
      new Option('--source-retries <N>', 'how often a source that fails is asked again')
        .argParser(parseWhole)
        .default(DEFAULT_SOURCE_RETRIES),
    )
    .addOption(
      new Option(
        '--load <HOW>',
        'the image and its tables: resident before the guest starts, or brought in on demand as all other pages; auto: on demand where the hardware walks page tables, but for guests whose own faults are measured',
      )
        .choices(LOAD_POLICIES)
        .default('auto'),
    )
    .option('--cmdline <TEXT>', 'of a Linux kernel; console=ttyS0 is added to one without console=')
    .option('--initrd <FILE>', 'its initial RAM disk')
    .addOption(
      new Option('--pin <SPEC>', 'threads to CPUs, as vcpu=0,1;handler=1').argParser(parsePin),
    )
    .addOption(
      new Option('--param <K=V>', 'for the image; may be given often').argParser(parseParam),
    )
    .addOption(
      new Option('--timeout <SECONDS>', 'ends the guest; verification afterwards is not counted')
        .argParser(parseSeconds)
        .default(60),
    )
    .option(
      '--no-count',
      'does not count mmap_lock, context switches and KVM exits, which costs time',
    )
    .option('--json', 'exactly one JSON object on stdout, everything else on stderr')
    .option(
      '--raw-console',
      "gives a terminal the guest's output as it is, control sequences included: for a guest that you trust",
    )
    .option('--list', 'lists the bundled guests and their parameters')
    .addHelpText(
      'after',
      '\nWhat the guest writes to its serial port goes to stdout (with --json to stderr): byte for byte to a\nfile or pipe; on a terminal, control characters are shown as \\x1b.\nWhat is typed goes to a Linux guest. A terminal is in raw mode meanwhile: Ctrl-A x quits, Ctrl-A a types\nCtrl-A, all else goes to the guest. From a pipe or file (or </dev/null) bytes go to the guest as they are.\n\nExample:\n  faultline run touch --delivery exit --vcpus 4 --param order=random --json',
    )
    .action(async (image: string | undefined, flags: RunFlags) => {
      if (flags.list) {
        process.stdout.write(listGuests());
        return;
      }
      process.exitCode = await run(imageOf(image, flags.firmware), flags);
    });
}

/** What is booted: firmware is, and loads nothing else. */
export function imageOf(image: string | undefined, firmware: string | undefined): string {
  if (image !== undefined && firmware !== undefined) {
    throw new UsageError(
      `--firmware takes the place of an IMAGE, and ${image} was given too`,
      'Name one of them.',
    );
  }
  const booted = firmware ?? image;
  if (booted === undefined) {
    throw new UsageError(
      'run needs an IMAGE',
      'Name a bundled guest (faultline run --list) or a path, or give it --firmware.',
    );
  }
  return booted;
}

/** What the command line asks for. */
export function optionsOf(image: string, flags: RunFlags): RunOptions {
  return {
    image,
    firmware: flags.firmware !== undefined,
    memoryBytes: flags.memory,
    backing: flags.backing,
    reserve: flags.reserve,
    around: flags.around,
    collapse: flags.collapse,
    prefetch: flags.prefetch,
    discard: flags.discard,
    delivery: flags.delivery,
    exitBy: flags.exitBy,
    strategy: flags.strategy,
    ...(flags.unit !== undefined && { unitBytes: flags.unit }),
    writers: writersOf(flags.writers, flags.writerRate, flags.writerCalls),
    vcpus: flags.vcpus,
    ...(flags.handlers !== undefined && { handlers: flags.handlers }),
    uffds: flags.uffds,
    source: flags.source,
    network: flags.network ?? null,
    delayMicroseconds: flags.delayMicroseconds,
    ...(flags.poison !== undefined && { poison: flags.poison }),
    onMemoryError: flags.onMemoryError,
    failSource: flags.failSource ?? [],
    sourceRetries: flags.sourceRetries,
    load: flags.load,
    ...(flags.cmdline !== undefined && { commandLine: flags.cmdline }),
    ...(flags.initrd !== undefined && { initrd: flags.initrd }),
    ...(flags.pin !== undefined && { pin: flags.pin }),
    ...(flags.param !== undefined && { params: flags.param }),
    timeoutSeconds: flags.timeout,
    countKernelEvents: flags.count,
  };
}

async function run(image: string, flags: RunFlags): Promise<number> {
  const console = flags.json ? process.stderr : process.stdout;
  const progress = new RunProgress();
  const write = consoleWriter(console, flags.rawConsole);
  const input = typedInput(() => process.stdin, interrupt);
  const result = await interruptible((signal) =>
    runGuest({
      ...optionsOf(image, flags),
      signal,
      input,
      onConsole: (text) => {
        progress.stop();
        return write(text);
      },
      onProgress: (now) => progress.update(now),
    }),
  ).finally(() => {
    progress.stop();
    input.close();
  });
  process.stdout.write(
    flags.json ? `${JSON.stringify(result, null, 2)}\n` : `${describeRun(result)}\n`,
  );
  for (const option of withoutEffect(flags, result.delivery)) {
    process.stderr.write(
      `faultline: ${option} had no effect: delivery ${result.delivery.used} has no handlers\n`,
    );
  }
  if (result.error !== null) {
    const { message, hint } = result.error;
    process.stderr.write(`faultline: ${message}${hint === '' ? '' : `. ${hint}`}\n`);
  }
  return statusOfRun(result);
}

/** Options that were given and are about handlers, where there are none. */
function withoutEffect({ handlers, pin }: RunFlags, delivery: RunResult['delivery']): string[] {
  if (hasHandlers(delivery)) {
    return [];
  }
  return [
    ...(handlers === undefined ? [] : ['--handlers']),
    ...(pin?.handler === undefined ? [] : ['--pin handler=']),
  ];
}

function listGuests(): string {
  return BUNDLED_GUESTS.map(({ name, description, parameters }) =>
    [
      `${name}: ${description}\n`,
      ...Object.entries(parameters).map(([key, meaning]) => `  --param ${key}=…  ${meaning}\n`),
    ].join(''),
  ).join('');
}
