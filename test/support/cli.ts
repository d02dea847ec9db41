import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export const CLI = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface CliResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** From the call, or from the last `started`, to the end of the process. */
  readonly milliseconds: number;
}

/** tap puts its hook into every process that it sees started; it costs each half a second. */
const WITHOUT_HOOKS = ['-u', 'NODE_OPTIONS'];

/**
 * Runs the command line in a process of its own.
 *
 * @param wrap a command and arguments to run it under
 * @param onStart called once it has been started
 * @param path of the command line, where it is not that of this build
 * @param onOutput called with everything written so far, whenever something is
 */
export async function cli(
  args: readonly string[],
  wrap: readonly string[] = [],
  onOutput: (written: string, child: ChildProcess) => void = () => undefined,
  onStart: (child: ChildProcess) => void = () => undefined,
  path: string = CLI,
): Promise<CliResult> {
  const began = performance.now();
  const child = spawn('env', [...WITHOUT_HOOKS, ...wrap, process.execPath, path, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onStart(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
    onOutput(stdout + stderr, child);
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
    onOutput(stdout + stderr, child);
  });
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout, stderr, milliseconds: performance.now() - began };
}
