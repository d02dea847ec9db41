#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { reportOf } from '../ffi/errors.js';
import { _exit } from '../ffi/libc.js';
import { packageVersion } from '../measure/host.js';
import { benchCommand } from './bench.js';
import { STATUS, statusOfError } from './exit-status.js';
import { matrixCommand } from './matrix.js';
import { probeCommand } from './probe.js';
import { runCommand } from './run.js';

const program = new Command('faultline')
  .description('KVM guests on demand-paged memory: boot them, measure their faults')
  .version(packageVersion())
  .addHelpText(
    'after',
    '\nExit status: 0 completed and verified; 1 the guest did not; 2 unusable arguments;\n3 this host lacks what was asked for; 4 a defect of ours; 124 timed out.',
  );
for (const command of [probeCommand(), runCommand(), matrixCommand(), benchCommand()]) {
  program.addCommand(command);
}
adopt(program);

/** Has a command and those below it report as this file does. */
function adopt(command: Command): void {
  command.exitOverride();
  command.configureOutput({
    outputError: (text, write) => write(text.replace(/^error: /, 'faultline: ')),
  });
  command.commands.forEach(adopt);
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // A reader that goes away (| head) is no error of ours.
  if (error.code !== 'EPIPE') {
    process.stderr.write(`faultline: stdout cannot be written (${error.code})\n`);
    _exit(STATUS.failed);
  }
});

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
// Everything of ours is closed. A thread that was still loading when the run was cut short, or one
// that did not stop, would keep the process for seconds, or for ever.
process.stdout.write('', () =>
  setImmediate(() => _exit(Number(process.exitCode ?? STATUS.completed))),
);

/** One sentence on stderr, and what to do about it. The stack only when asked for. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? STATUS.completed : STATUS.usage; // it has written already
  }
  const { code, message, hint, stack } = reportOf(error);
  process.stderr.write(`faultline: ${message}${hint === '' ? '.' : `. ${hint}`}\n`);
  if (process.env.FAULTLINE_DEBUG === '1') {
    process.stderr.write(`${stack}\n`);
  }
  return statusOfError(code);
}
