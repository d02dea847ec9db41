/**
 * Signals at random moments, from the first milliseconds of the process to its end.
 * FAULTLINE_SIGNAL_RUNS says how many, FAULTLINE_SIGNAL_SEED which.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { readHugetlbPool } from '../../src/memory/hugetlb-pool.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { CLI } from '../support/cli.js';
import { kvmSkip, rootSkip } from '../support/host.js';
import { withHugetlbPages } from '../support/hugetlb.js';
import { Random, seedOf } from '../support/random.js';

const RUNS = Number(process.env.FAULTLINE_SIGNAL_RUNS ?? 30);
const KILLS = Math.ceil(RUNS / 3);
/** The last moment for a signal; a run of those below takes about as long. */
const LATEST_MILLISECONDS = 1300;
/** From a signal to the end of the process, on a busy host. */
const WITHIN_MILLISECONDS = 5000;
const PATIENCE_MILLISECONDS = 20_000;
const HUGE_PAGES = 8;
/** Where a file can be the memory of any delivery. */
const TMPFS = '/dev/shm';
t.setTimeout((RUNS + KILLS + 20) * 10_000);
const skip = kvmSkip() || rootSkip();

/** What a process could leave behind, as far as it is everybody's. */
function leftovers(directory: string): Record<string, unknown> {
  return {
    mounts: readFileSync('/proc/self/mountinfo', 'utf8'),
    files: readdirSync(directory).map((name) => `${name} ${statSync(join(directory, name)).size}`),
    hugePages: readHugetlbPool(HUGE_PAGE_BYTES),
  };
}

/** What others do to the host meanwhile goes away again; what a dead process has left does not. */
async function nothingIsLeft(
  t: Test,
  directory: string,
  before: Record<string, unknown>,
  label: string,
): Promise<void> {
  const same = (): boolean => JSON.stringify(leftovers(directory)) === JSON.stringify(before);
  const deadline = performance.now() + PATIENCE_MILLISECONDS;
  while (!same() && performance.now() < deadline) {
    await setTimeout(50);
  }
  if (!same()) {
    t.strictSame(leftovers(directory), before, label);
  }
}

/** A command line: all deliveries, memory with something to leave behind, every command. */
function commandLine(random: Random, directory: string): string[] {
  const touch = ['run', 'touch', '--memory', '16M', '--json', '--param', 'passes=3'];
  const some = ['--delivery', random.pick(['exit', 'handler', 'kernel']), '--vcpus', '2'];
  const backing = (name: string): string[] => [...touch, ...some, '--backing', name];
  return random.pick<() => string[]>([
    () => backing('shmem'),
    () => backing('anon-private'),
    () => backing('tmpfs-huge'),
    () => backing('hugetlb-2M'),
    () => backing(`file:${join(directory, 'new')}`),
    () => backing(`file:${join(directory, 'empty')}`),
    () => [...touch, '--delivery', 'exit', '--fail-source', 'delay=2000'],
    () => [...touch, '--delivery', 'handler', '--vcpus', '8', '--handlers', '4'],
    () => [...touch, '--discard', 'background', '--prefetch', 'background'],
    () => ['bench', 'deliveries', '--pages', '512', '--repeat', '1'],
    () => ['matrix', 'discard', '--json'],
    () => ['probe', '--json'],
  ])();
}

/** Whether a process has begun with what it must give back: then it has its handlers. */
function hasBegun({ pid }: ChildProcess): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) =>
      /anon_inode:kvm|faultline guest memory/.test(readlinkSync(`/proc/${pid}/fd/${fd}`)),
    );
  } catch {
    return false; // it ends, or has a descriptor less
  }
}

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** From the last signal. */
  readonly milliseconds: number;
}

async function signalled(
  args: readonly string[],
  signal: NodeJS.Signals,
  moments: readonly number[],
  from: 'start' | 'begun' = 'start',
): Promise<Ended & { readonly begun: boolean }> {
  // Without a test runner's hooks, which take signals of their own.
  const { NODE_OPTIONS: _hooks, ...env } = process.env;
  const stdio = ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'];
  const child = spawn(process.execPath, [CLI, ...args], { stdio, env });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (data: Buffer) => {
      output[name] += data.toString();
    });
  }
  let ended = false;
  const end = new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
    child.once('close', (...how) => {
      ended = true;
      resolve(how);
    }),
  );
  let begun = false;
  let last = performance.now();
  while (from === 'begun' && !ended && !hasBegun(child)) {
    await setTimeout(5);
  }
  for (const moment of moments) {
    await Promise.race([setTimeout(moment), end]);
    if (!ended) {
      begun = hasBegun(child);
      last = performance.now();
      child.kill(signal);
    }
  }
  const watchdog = globalThis.setTimeout(() => child.kill('SIGKILL'), 2 * WITHIN_MILLISECONDS);
  const [status, by] = await end;
  clearTimeout(watchdog);
  return { ...output, status, signal: by, milliseconds: performance.now() - last, begun };
}

function setUp(t: Test): string | null {
  if (!withHugetlbPages(t, HUGE_PAGE_BYTES, HUGE_PAGES)) {
    return null;
  }
  const directory = mkdtempSync(join(existsSync(TMPFS) ? TMPFS : tmpdir(), 'faultline-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'empty'), '');
  return directory;
}

t.test(`SIGINT and SIGTERM at random moments, ${RUNS} times`, { skip }, async (t) => {
  const directory = setUp(t);
  if (directory === null) {
    return;
  }
  const random = new Random(seedOf('FAULTLINE_SIGNAL_SEED'));
  t.comment(`FAULTLINE_SIGNAL_SEED=${random.seed}`);
  const before = leftovers(directory);
  const ends = new Map<string, number>();
  let longest = 0;
  for (let run = 0; run < RUNS; run++) {
    const args = commandLine(random, directory);
    const signal = random.pick(['SIGINT', 'SIGTERM'] as const);
    const moment = random.below(LATEST_MILLISECONDS);
    const label = `${signal} after ${moment} ms of ${args.join(' ')}`;
    const end = await signalled(args, signal, [moment]);
    longest = Math.max(longest, end.milliseconds);
    const how = end.signal ?? `status ${end.status}`;
    ends.set(how, (ends.get(how) ?? 0) + 1);
    const problems = [
      end.milliseconds > WITHIN_MILLISECONDS && `it took ${end.milliseconds.toFixed(0)} ms`,
      end.signal !== null && end.begun && `it had begun, and died by ${end.signal}`,
      end.signal !== null && end.signal !== signal && `it died by ${end.signal}`,
      end.signal === null && end.status !== 0 && end.status !== 1 && `status ${end.status}`,
      end.status === 1 && !/interrupted/.test(end.stderr) && end.begun && 'it does not say why',
      /^\s+at |native stack/im.test(end.stderr) && 'a stack trace',
    ].filter((problem) => problem !== false);
    if (problems.length > 0) {
      t.fail(`${label}: ${problems.join(', ')}\n${end.stderr}`);
    }
    await nothingIsLeft(t, directory, before, label);
  }
  t.comment(`${[...ends].map(([how, times]) => `${how}: ${times}`).join(', ')}`);
  t.comment(`at most ${longest.toFixed(0)} ms from the signal to the end`);
  t.ok(ends.size > 1 || RUNS < 20, 'the moments were spread over runs that end in several ways');
});

t.test(
  'a signal that comes twice, as through npx or timeout(1), ends the run with its report',
  { skip, timeout: 60_000 },
  async (t) => {
    for (const pause of [0, 1, 5, 20, 50]) {
      const args = ['run', 'touch', '--memory', '64M', '--vcpus', '8', '--json'];
      const end = await signalled(
        [...args, '--param', 'passes=1000'],
        'SIGTERM',
        [100, pause],
        'begun',
      );
      t.equal(end.status, 1, `${pause} ms between: ${end.stderr}`);
      t.equal(JSON.parse(end.stdout || '{}').error?.code, 'interrupted', `${pause} ms between`);
    }
  },
);

t.test('a second signal ends the process at once', { skip, timeout: 60_000 }, async (t) => {
  const directory = setUp(t);
  if (directory === null) {
    return;
  }
  const before = leftovers(directory);
  for (const pause of [205, 250, 300, 400]) {
    // Stopping 16 threads takes some time.
    const args = ['run', 'touch', '--memory', '64M', '--vcpus', '16', '--backing', 'tmpfs-huge'];
    const end = await signalled(
      [...args, '--param', 'passes=100'],
      'SIGINT',
      [100, pause],
      'begun',
    );
    t.equal(end.signal, null);
    t.equal(end.status, 1, `${pause} ms between: ${end.milliseconds.toFixed(0)} ms`);
    t.ok(end.milliseconds < WITHIN_MILLISECONDS);
    await nothingIsLeft(t, directory, before, `${pause} ms between`);
  }
});

t.test(`SIGKILL at random moments, ${KILLS} times: nothing is left`, { skip }, async (t) => {
  const directory = setUp(t);
  if (directory === null) {
    return;
  }
  rmSync(join(directory, 'empty')); // what is there already cannot be emptied by a process that is dead
  const random = new Random(seedOf('FAULTLINE_SIGNAL_SEED'));
  t.comment(`FAULTLINE_SIGNAL_SEED=${random.seed}`);
  const before = leftovers(directory);
  for (let run = 0; run < KILLS; run++) {
    const name = random.pick(['tmpfs', 'hugetlb-2M', `file:${join(directory, 'new')}`]);
    const moment = random.below(LATEST_MILLISECONDS);
    const args = ['run', 'touch', '--memory', '16M', '--backing', name, '--param', 'passes=100'];
    const end = await signalled(args, 'SIGKILL', [moment]);
    t.ok(end.signal === 'SIGKILL' || end.status === 0, `${name}, ${moment} ms: ${end.stderr}`);
    await nothingIsLeft(t, directory, before, `${name}, ${moment} ms`);
  }
});
