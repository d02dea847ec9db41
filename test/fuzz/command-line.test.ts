/** Whole command lines, parsed in this process by the program itself, but not carried out. */
import assert from 'node:assert/strict';
import type { Command } from 'commander';
import t from 'tap';
import { complain, createProgram } from '../../src/cli/program.js';
import { optionsOf, type RunFlags } from '../../src/cli/run.js';
import { completeConfig } from '../../src/machine/machine-config.js';
import { commandLines } from './arguments.js';
import { ROOM, tryCases } from './cases.js';
import { checkLine } from './complaints.js';

t.setTimeout(240_000 * ROOM);

interface Parsed {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Commands whose action was reached. */
  readonly reached: readonly string[];
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

async function parse(args: readonly string[]): Promise<Parsed> {
  let stdout = '';
  let stderr = '';
  const reached: string[] = [];
  const write = (text: string): void => {
    stderr += text;
  };
  const program = createProgram();
  for (const command of everyCommand(program)) {
    command.configureOutput({
      writeOut: (text) => {
        stdout += text;
      },
      writeErr: write,
    });
    if (command.commands.length === 0) {
      command.action((...given: unknown[]) => {
        reached.push(command.name());
        const [image, flags] = given as [string | undefined, RunFlags];
        if (command.name() === 'run' && image !== undefined && !flags.list) {
          completeConfig(optionsOf(image, flags));
        }
      });
    }
  }
  let status = 0;
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    status = complain(error, write);
  }
  return { status, stdout, stderr, reached };
}

t.test('any arguments are accepted, or refused in one sentence', async (t) => {
  let accepted = 0;
  let refused = 0;
  await tryCases(t, 'command lines: any arguments', commandLines, async (args) => {
    const { status, stdout, stderr, reached } = await parse(args);
    assert([0, 2].includes(status), `status ${status}: ${stderr}`);
    if (status === 0) {
      accepted += reached.length;
      assert.equal(stderr, '');
      assert(reached.length === 1 || stdout !== '', 'neither done nor answered');
      return;
    }
    refused++;
    if (stderr.startsWith('Usage: ')) {
      return; // no command: the help says which there are
    }
    assert(stderr.startsWith('faultline: ') && stderr.endsWith('\n'), JSON.stringify(stderr));
    checkLine(stderr.slice(0, -1));
    assert.equal(stdout, '');
  });
  t.ok(accepted > 0 && refused > 0, `${accepted} accepted, ${refused} refused`);
});
