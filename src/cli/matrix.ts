import { Command } from 'commander';
import { discardMatrix } from '../memory/discard-matrix/discard-matrix.js';
import { describeDiscardMatrix } from '../report/matrix-report.js';
import { interruptible } from './interrupt.js';
import { ProgressLine } from './progress.js';

export function matrixCommand(): Command {
  return new Command('matrix')
    .description('tries what this kernel does with memory, call by call, and prints what it saw')
    .addCommand(
      new Command('discard')
        .description('every discard call on every backing, and what our one discard() does')
        .option('--json', 'exactly one JSON object on stdout')
        .addHelpText('after', '\nExample:\n  faultline matrix discard --json')
        .action(discard),
    )
    .addHelpText('after', '\nExample:\n  faultline matrix discard');
}

async function discard(flags: { readonly json?: true }): Promise<void> {
  let progress: ProgressLine | null = null;
  try {
    const matrix = await interruptible((signal) =>
      discardMatrix({
        signal,
        onStep: (done, total, backing) => {
          progress ??= new ProgressLine(total);
          progress.step(done, backing);
        },
      }),
    );
    const text = flags.json ? JSON.stringify(matrix, null, 2) : describeDiscardMatrix(matrix);
    process.stdout.write(`${text}\n`);
  } finally {
    // Assigned in a callback, which the compiler does not follow.
    (progress as ProgressLine | null)?.stop();
  }
}
