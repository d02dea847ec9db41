#!/usr/bin/env node
import { asksForRunJson, failedRun } from './failed-run.js';

// Loaded from here, and not by an import statement, so that a host without enough open files or
// memory to load it is told so.
try {
  const { main } = await import('./program.js');
  await main();
} catch (error) {
  const { message } = error as Error;
  const report = {
    code: 'unsupported',
    message: `the program cannot be loaded (${message})`,
    hint: 'Raise the limits of open files and address space (ulimit -n, -v), or build it again (make build).',
  };
  if (asksForRunJson(process.argv)) {
    process.stdout.write(failedRun(null, report));
  }
  process.stderr.write(`faultline: ${report.message}. ${report.hint}\n`);
  process.exitCode = 3;
}
