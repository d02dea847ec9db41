import { Command, CommanderError } from 'commander';
import { type ErrorReport, reportOf } from '../ffi/errors.js';
import { _exit } from '../ffi/libc.js';
import { packageVersion } from '../measure/host.js';
import { benchCommand } from './bench.js';
import { printableLine } from './console-text.js';
import { STATUS, statusOfError } from './exit-status.js';
import { asksForRunJson, failedRun } from './failed-run.js';
import { matrixCommand } from './matrix.js';
import { probeCommand } from './probe.js';
import { reportCommand } from './report.js';
import { runCommand } from './run.js';
import { restoreTerminal } from './typed-input.js';

/** Does what the command line says, and ends the process. */
export async function main(): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // A reader that goes away (| head) is no error of ours.
    if (error.code !== 'EPIPE') {
      process.stderr.write(`faultline: stdout cannot be written (${error.code})\n`);
      restoreTerminal();
      _exit(STATUS.failed);
    }
  });
  const program = createProgram();
  try {
    await program.parseAsync();
  } catch (error) {
    const status = complain(error, (text) => process.stderr.write(text));
    if (status !== STATUS.completed && asksForRunJson(process.argv)) {
      process.stdout.write(failedRun(imageOf(program), describeFailure(error)));
    }
    process.exitCode = status;
  }
  // Everything of ours is closed. A thread that was still loading when the run was cut short, or one
  // that did not stop, would keep the process for seconds, or for ever.
  process.stdout.write('', () =>
    setImmediate(() => _exit(Number(process.exitCode ?? STATUS.completed))),
  );
}

/** The whole command line. It throws what keeps a command from its result: see {@link complain}. */
export function createProgram(): Command {
  const program = new Command('faultline')
    .description('KVM guests on demand-paged memory: boot them, measure their faults')
    .version(packageVersion())
    .addHelpText(
      'after',
      '\nExit status: 0 completed and verified; 1 the guest did not; 2 unusable arguments;\n3 this host lacks what was asked for; 4 a defect of ours; 124 timed out.',
    );
  const commands = [probeCommand(), runCommand(), matrixCommand(), benchCommand(), reportCommand()];
  for (const command of commands) {
    program.addCommand(command);
  }
  adopt(program);
  return program;
}

/** Has a command and those below it report as {@link complain} does. */
function adopt(command: Command): void {
  command.exitOverride();
  command.configureOutput({
    outputError: (text, write) =>
      write(`${printableLine(text.trimEnd().replace(/^error: /, 'faultline: '))}\n`),
  });
  command.commands.forEach(adopt);
}

/**
 * One sentence on stderr, and what to do about it. The stack only when asked for.
 *
 * @returns the exit status
 */
export function complain(error: unknown, write: (text: string) => void): number {
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? STATUS.completed : STATUS.usage; // it has written already
  }
  const { code, message, hint, stack } = reportOf(error);
  write(`${printableLine(`faultline: ${message}${hint === '' ? '.' : `. ${hint}`}`)}\n`);
  if (process.env.FAULTLINE_DEBUG === '1') {
    write(`${stack}\n`);
  }
  return statusOfError(code);
}

function describeFailure(error: unknown): ErrorReport {
  return error instanceof CommanderError
    ? { code: 'usage', message: error.message.replace(/^error: /, ''), hint: '' }
    : reportOf(error);
}

/** The image that `run` was given, as far as the command line was understood. */
function imageOf(program: Command): string | null {
  const run = program.commands.find((command) => command.name() === 'run');
  return run?.opts<{ firmware?: string }>().firmware ?? run?.args[0] ?? null;
}
