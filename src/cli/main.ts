#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { FaultlineError, reportOf } from '../ffi/errors.js';
import { _exit } from '../ffi/libc.js';
import { packageVersion } from '../measure/host.js';
import { benchCommand } from './bench.js';
import { STATUS, statusOfError } from './exit-status.js';
import { probeCommand } from './probe.js';
import { runCommand } from './run.js';

const program = new Command('faultline')
  .description('KVM guests on demand-paged memory: boot them, measure their faults')
  .version(packageVersion())
  .addHelpText(
    'after',
    '\nExit status: 0 completed and verified; 1 the guest did not; 2 unusable arguments;\n3 this host lacks what was asked for; 4 a defect of ours; 124 timed out.',
  );
for (const command of [probeCommand(), runCommand(), benchCommand()]) {
  program.addCommand(command);
}
for (const command of [program, ...program.commands]) {
  command.exitOverride();
  command.configureOutput({
    outputError: (text, write) => write(text.replace(/^error: /, 'faultline: ')),
  });
}

// A reader that goes away (| head) is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') {
    throw error;
  }
});

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
  if (error instanceof FaultlineError && error.code === 'defect') {
    // A thread that did not stop would keep the process: end it under it.
    _exit(STATUS.defect);
  }
}

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
