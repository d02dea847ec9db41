import t from 'tap';
import { Dice, drawRun } from '../../bench/scale/soak-plan.js';
import { createProgram } from '../../src/cli/program.js';
import { optionsOf, type RunFlags } from '../../src/cli/run.js';
import { completeConfig } from '../../src/machine/machine-config.js';
import { BACKING_KINDS } from '../../src/memory/backing.js';
import { commandOf } from '../../src/report/run-command.js';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(120_000);

/** The configuration that a command line means. */
async function configOf(command: string): Promise<unknown> {
  const program = createProgram();
  let config: unknown;
  for (const below of program.commands) {
    below.action((image: string, flags: RunFlags) => {
      config = completeConfig(optionsOf(image, flags));
    });
  }
  await program.parseAsync(command.split(' ').slice(1), { from: 'user' });
  return config;
}

t.test('a run is repeated by the command that names it', async (t) => {
  const dice = new Dice(7);
  for (let run = 0; run < 300; run++) {
    const options = drawRun(dice, BACKING_KINDS);
    const command = commandOf(options);
    t.strictSame(await configOf(command), completeConfig(options), command);
  }
});

t.test('a seed draws the same runs, another seed others', async (t) => {
  const draw = (seed: number): string[] => {
    const dice = new Dice(seed);
    return Array.from({ length: 20 }, () => commandOf(drawRun(dice, BACKING_KINDS)));
  };
  t.strictSame(draw(3), draw(3));
  t.equal(new Set([...draw(3), ...draw(4), ...draw(0)]).size, 60);
});

t.test('bench soak ends with its verdict', { skip: kvmSkip() }, async (t) => {
  const { status, stdout, stderr } = await cli(['bench', 'soak', '--minutes', '0.05']);
  t.equal(status, 0, stderr);
  t.match(
    stdout,
    /^clean: \d+ runs in [\d.]+ minutes \(seed 1\), [\d,]+ faults, [\d,]+ pages verified, 0 wrong, [\d,]+ failed as told, nothing of ours left\n/,
  );
});
