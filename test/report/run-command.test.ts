import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import t from 'tap';
import { createProgram } from '../../src/cli/program.js';
import { imageOf, optionsOf, type RunFlags } from '../../src/cli/run.js';
import { completeConfig } from '../../src/machine/machine-config.js';
import { commandOfRun, quoted } from '../../src/report/run-command.js';
import { runResult } from '../support/bench-results.js';

t.setTimeout(60_000);

/** What a shell makes of a command line. */
function words(command: string): string[] {
  const printed = execFileSync('sh', ['-c', `printf '%s\\0' ${command}`], { encoding: 'utf8' });
  return printed.split('\0').slice(0, -1);
}

t.test('a shell takes a quoted word for just that', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 30 }),
      (list) => {
        const wanted = list.map((word) => word.replaceAll('\0', ''));
        t.strictSame(words(wanted.map(quoted).join(' ')), wanted);
      },
    ),
    { numRuns: 30 },
  );
});

t.test('the command of a run asks for that run', async (t) => {
  const run = runResult();
  const config = {
    ...run.config,
    pin: { vcpu: [0, 1], handler: [1] },
    reserve: true,
    around: 3,
    collapse: 'complete',
    prefetch: { bytesPerSecond: null },
    network: { bitsPerSecond: 1e9, latencyMicroseconds: 12.5 },
    writers: { threads: 2, perSecond: 500, calls: 'mixed' },
    poison: [0x300000],
    onMemoryError: 'inject',
    failSource: ['every=100', 'page=0x200000:2'],
    sourceRetries: 5,
    load: 'resident',
    source: 'pattern:77',
    params: { pages: 64, note: "it's $HOME; `x`" },
    countKernelEvents: false,
  } as const;
  const asked = await askedBy(commandOfRun({ ...run, config, image: './my image.elf' }));
  const { source: _source, failSource, ...same } = config;
  t.match(asked, {
    ...same,
    image: './my image.elf',
    delivery: 'exit',
    source: { kind: 'pattern', seed: 77 },
    params: { pages: '64', note: config.params.note },
  });
  t.equal(asked.failSource.length, failSource.length);
});

t.test('the command of a run of firmware names it as such', async (t) => {
  const run = runResult();
  const config = { ...run.config, firmware: true };
  const command = commandOfRun({ ...run, config, image: 'my bios.bin' });
  t.match(command, /^faultline run --firmware 'my bios.bin' --memory /);
  t.match(await askedBy(command), { image: 'my bios.bin', firmware: true });
  t.match(await askedBy('faultline run bios.bin'), { image: 'bios.bin', firmware: false });
  const both = createProgram().parseAsync(['run', 'touch', '--firmware', 'a'], { from: 'user' });
  await t.rejects(both, { message: /--firmware takes the place of an IMAGE, and touch was given/ });
  const none = createProgram().parseAsync(['run'], { from: 'user' });
  await t.rejects(none, { message: 'run needs an IMAGE' });
});

/** The run that a command line asks for. */
async function askedBy(command: string): Promise<ReturnType<typeof completeConfig>> {
  const program = createProgram();
  let asked: ReturnType<typeof completeConfig> | null = null;
  program.commands
    .find((below) => below.name() === 'run')!
    .action((image: string | undefined, flags: RunFlags) => {
      asked = completeConfig(optionsOf(imageOf(image, flags.firmware), flags));
    });
  await program.parseAsync(words(command).slice(1), { from: 'user' });
  return asked!;
}
