import { Command, CommanderError } from 'commander';
import { type ErrorReport, reportOf } from '../ffi/errors.js';
import { _exit } from '../ffi/libc.js';
import { packageVersion } from '../measure/host.js';
import { benchCommand } from './bench.js';
import { STATUS, statusOfError } from './exit-status.js';
import { asksForRunJson, failedRun } from './failed-run.js';
import { matrixCommand } from './matrix.js';
import { probeCommand } from './probe.js';
import { runCommand } from './run.js';

/** Does what the command line says, and ends the process. */
export async function main(): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // A reader that goes away (| head) is no error of ours.
    if (error.code !== 'EPIPE') {
      process.stderr.write(`faultline: stdout cannot be written (${error.code})\n`);
      _exit(STATUS.failed);
    }
  });
  const run = runCommand();
  const program = programOf([probeCommand(), run, matrixCommand(), benchCommand()]);
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error, run.args[0] ?? null);
  }
  // Everything of ours is closed. A thread that was still loading when the run was cut short, or one
  // that did not stop, would keep the process for seconds, or for ever.
  process.stdout.write('', () =>
    setImmediate(() => _exit(Number(process.exitCode ?? STATUS.completed))),
  );
}

function programOf(commands: readonly Command[]): Command {
  const program = new Command('faultline')
    .description('KVM guests on demand-paged memory: boot them, measure their faults')
    .version(packageVersion())
    .addHelpText(
      'after',
      '\nExit status: 0 completed and verified; 1 the guest did not; 2 unusable arguments;\n3 this host lacks what was asked for; 4 a defect of ours; 124 timed out.',
    );
  for (const command of commands) {
    program.addCommand(command);
  }
  adopt(program);
  return program;
}

/** Has a command and those below it report as this file does. */
function adopt(command: Command): void {
  command.exitOverride();
  command.configureOutput({
    outputError: (text, write) => write(text.replace(/^error: /, 'faultline: ')),
  });
  command.commands.forEach(adopt);
}

/** One sentence on stderr, and what to do about it. The stack only when asked for. */
function report(error: unknown, image: string | null): number {
  if (error instanceof CommanderError && error.exitCode === 0) {
    return STATUS.completed; // --help, --version
  }
  const failure = error instanceof CommanderError ? usageOf(error) : reportOf(error);
  if (asksForRunJson(process.argv)) {
    process.stdout.write(failedRun(image, failure));
  }
  if (error instanceof CommanderError) {
    return STATUS.usage; // it has written its sentence already
  }
  const { code, message, hint, stack } = failure;
  process.stderr.write(`faultline: ${message}${hint === '' ? '.' : `. ${hint}`}\n`);
  if (process.env.FAULTLINE_DEBUG === '1') {
    process.stderr.write(`${stack}\n`);
  }
  return statusOfError(code);
}

function usageOf({ message }: CommanderError): ErrorReport {
  return { code: 'usage', message: message.replace(/^error: /, ''), hint: '' };
}
