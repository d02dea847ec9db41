/** What is typed on the command line's stdin, with a real terminal and with pipes. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CLI } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';
import { echo } from '../support/pc-guest.js';

const hasScript = (): boolean => {
  try {
    execFileSync('script', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};
const skip = kvmSkip();
const terminal = {
  skip: skip || (!hasScript() && 'needs script(1) for a terminal'),
  timeout: 60_000,
};
t.setTimeout(200_000);
const { NODE_OPTIONS: _hooks, ...env } = process.env;

const RUN = `${process.execPath} ${CLI} run kernel --memory 32M --delivery exit --timeout 40`;

/** A shell command on a terminal, in a folder with an echoing guest as `kernel`. */
function onTerminal(t: Test, bytes: number, command: string) {
  const folder = t.testdir({ kernel: Buffer.from(echo(bytes)) });
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: folder,
    env: { ...env, SHELL: '/bin/sh' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const shown = { text: '' };
  child.stdout.on('data', (data: Buffer) => {
    shown.text += data.toString('latin1');
  });
  return { folder, child, shown };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function statusOf(child: ChildProcess): Promise<number | null> {
  const [status] = (await once(child, 'close')) as [number | null];
  return status;
}

/** Ctrl-B: a terminal that is not in raw mode yet shows it as ^B, the guest otherwise. */
const KEY = '\x02';
const FROM_GUEST = '\\x02';

const MODES = `stty -g >before; ${RUN}; status=$?; stty -g >after; exit $status`;

function restored(t: Test, folder: string): void {
  const modes = (name: string): string => readFileSync(join(folder, name), 'latin1');
  t.equal(modes('after'), modes('before'), 'the terminal is as it was');
}

t.test(
  'a terminal: keys reach the guest one by one, Ctrl-C too, and Ctrl-A x quits',
  terminal,
  async (t) => {
    const { folder, child, shown } = onTerminal(t, 1000, MODES);
    const status = statusOf(child);
    const typing = setInterval(() => child.stdin!.write(KEY), 200);
    await until(() => shown.text.includes(FROM_GUEST));
    clearInterval(typing);
    child.stdin!.write('say\x03\x01a');
    await until(() => shown.text.includes('say\\x03\\x01'));
    t.equal(shown.text.split('say').length - 1, 1, 'shown once: by the guest');
    child.stdin!.write('\x01');
    child.stdin!.write('x');
    t.equal(await status, 1);
    t.match(shown.text, /the run was interrupted/);
    restored(t, folder);
  },
);

t.test(
  'a terminal is given back when the guest ends, and when we are told to',
  terminal,
  async (t) => {
    const ends = onTerminal(t, 1, MODES);
    const ended = statusOf(ends.child);
    const typing = setInterval(() => ends.child.stdin!.write(KEY), 200);
    t.equal(await ended, 0);
    clearInterval(typing);
    restored(t, ends.folder);

    for (const signal of ['TERM', 'HUP']) {
      const told = onTerminal(t, 1000, `echo $$ >pid; ${MODES}`);
      const status = statusOf(told.child);
      const waiting = setInterval(() => told.child.stdin!.write(KEY), 200);
      await until(() => told.shown.text.includes(FROM_GUEST));
      clearInterval(waiting);
      const shell = readFileSync(join(told.folder, 'pid'), 'latin1').trim();
      const of = execFileSync('pgrep', ['-P', shell], { encoding: 'latin1' }).trim().split('\n');
      execFileSync('kill', [`-${signal}`, of.at(-1)!]);
      t.equal(await status, 1, signal);
      restored(t, told.folder);
    }
  },
);

t.test('a pipe: every byte, and then the guest runs on', { skip, timeout: 60_000 }, async (t) => {
  const folder = t.testdir({ kernel: Buffer.from(echo(300)) });
  const child = spawn('sh', ['-c', RUN], { cwd: folder, env, stdio: ['pipe', 'pipe', 'inherit'] });
  const sent = Buffer.from(Array.from({ length: 300 }, (_, at) => at & 0xff));
  let shown = Buffer.alloc(0);
  child.stdout.on('data', (data: Buffer) => {
    shown = Buffer.concat([shown, data]);
  });
  child.stdin.end(sent);
  t.equal(await statusOf(child), 0);
  t.ok(shown.subarray(0, 300).equals(sent), 'Ctrl-A x among them');
  t.match(shown.toString('latin1'), /outcome +completed/);
});

t.test('nothing to read, or nothing open, is no error', { skip, timeout: 60_000 }, async (t) => {
  const folder = t.testdir({ kernel: Buffer.from(echo(1)) });
  for (const from of ['</dev/null', '<&-']) {
    const child = spawn('sh', ['-c', `${RUN.replace('40', '2')} ${from}`], {
      cwd: folder,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.equal(await statusOf(child), 124, from);
  }
});
