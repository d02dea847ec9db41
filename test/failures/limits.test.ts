/** Descriptors (RLIMIT_NOFILE) and address space (RLIMIT_AS) run out, at every stage of a run. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { type CliResult, cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(300_000);
const skip = kvmSkip();
const MIB = 2 ** 20;

const LIMITED = ['prlimit'];
const RUN = ['run', 'touch', '--memory', '16M', '--param', 'pages=64', '--vcpus', '4', '--json'];

/** One sentence, an error object, and status 3; or the run completed. */
function endedWell(t: Test, { status, signal, stdout, stderr }: CliResult, label: string): boolean {
  t.equal(signal, null, `${label}: not by a signal`);
  t.ok(status === 0 || status === 3, `${label}: status ${status}`);
  t.notMatch(stderr, /^\s+at |native stack/im, 'no stack trace');
  if (status === 0) {
    return true;
  }
  const result = JSON.parse(stdout);
  t.match(result, { outcome: 'error', error: { code: 'unsupported', hint: /./ } });
  t.ok(stderr.includes(result.error.message), 'the same sentence on stderr');
  if (result.pages) {
    t.ok(!result.pages.mismatched, 'no page has contents that its source did not supply');
  }
  t.comment(`${label}: ${result.error.message}`);
  return false;
}

t.test('descriptors run out while the program loads', { skip, timeout: 60_000 }, async (t) => {
  // The engine itself needs eighteen or so, and says so in its own way.
  for (const limit of [22, 30, 45]) {
    const result = await cli(RUN, [...LIMITED, `--nofile=${limit}`]);
    t.notOk(endedWell(t, result, `${limit} descriptors`));
    // The engine takes a package.json that it could not open for one that is not there.
    t.match(
      result.stderr,
      /the program cannot be loaded \((EMFILE|Cannot find package).*ulimit -n/,
    );
  }
});

t.test(
  'descriptors run out while the machine is built and its threads start',
  { skip, timeout: 200_000 },
  async (t) => {
    // From too few to load the program to enough for all of it.
    const outcomes: boolean[] = [];
    for (let limit = 60; limit <= 240 && outcomes.at(-1) !== true; limit += 10) {
      const result = await cli(RUN, [...LIMITED, `--nofile=${limit}`]);
      outcomes.push(endedWell(t, result, `${limit} descriptors`));
    }
    t.ok(outcomes.includes(false), 'there were too few');
    t.ok(outcomes.at(-1), 'and there were enough at last');
  },
);

/** What the engine has mapped before anything of ours. */
function engineMebibytes(): number {
  const [, kibibytes] = /VmSize:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))!;
  return Math.ceil(Number(kibibytes) / 1024);
}

t.test('address space runs out', { skip, timeout: 120_000 }, async (t) => {
  const base = engineMebibytes();
  t.comment(`an engine with the tests has ${base} MiB mapped`);
  const run = async (more: number, args: readonly string[]): Promise<[CliResult, string]> => {
    const limit = (base + more) * MIB;
    return [await cli([...RUN, ...args], [...LIMITED, `--as=${limit}`]), `${base + more} MiB`];
  };
  const [small, label] = await run(600, ['--memory', '2G']);
  t.notOk(endedWell(t, small, label));
  t.match(small.stderr, /mmap of \d+ bytes failed: ENOMEM/, 'for guest memory');

  const [threads, other] = await run(1200, []);
  t.notOk(endedWell(t, threads, other));
  t.match(threads.stderr, /a thread could not be started .*ulimit -v/, 'for threads');

  const [enough, last] = await run(8000, []);
  t.ok(endedWell(t, enough, last), 'and there was enough');
});
