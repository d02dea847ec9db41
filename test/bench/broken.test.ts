/**
 * A wrong result cannot pass: the guest, the source and the counters are broken on purpose, and each
 * bench fails on the command line, says why, prints no table and writes no file.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Breakage, brokenBuild } from '../support/broken-build.js';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

const skip = kvmSkip();
t.setTimeout(120_000);

const WORKERS = ['src/workers/vcpu-worker.cjs', 'src/workers/handler-worker.cjs'];

/** One page in 64 is not touched. ($$ is a dollar in what a text becomes.) */
const SKIP = '        jae     pass_done\n        test    $$63, %bl\n        jz      skipped\n';
const LIE = '        addq    $$1024, L_WORDS(%rsp)\n        incq    L_TOUCHED(%rsp)\n';
const guest = (skipped: string): Breakage => ({
  files: [],
  text: /^ {8}jae {5}pass_done\n([\s\S]*?)^next_page:\n/m,
  becomes: `${SKIP}$1        jmp     next_page\nskipped:\n${skipped}next_page:\n`,
});

const wrongWords: Breakage = {
  files: WORKERS,
  text: 'patternBase(pageNumber + page, this.seed))',
  becomes: 'patternBase(pageNumber + page + (pageNumber === 700 ? 1 : 0), this.seed))',
};
const failing: Breakage = {
  files: WORKERS,
  text: /(patternBase\(pageNumber \+ page, this\.seed\)\);\s+\}\s+)return true;/,
  becomes: '$1return pageNumber !== 700;',
};
const counters = (name: string, value: string): Breakage => ({
  files: ['src/measure/counters.js'],
  text: '[name, row[at]]',
  becomes: `[name, name === '${name}' ? ${value} : row[at]]`,
});

interface Case {
  readonly title: string;
  readonly broken: readonly Breakage[];
  readonly guest?: Breakage;
  readonly status: 1 | 4;
  readonly says: RegExp;
}

const CASES: readonly Case[] = [
  {
    title: 'a guest that skips pages',
    broken: [],
    guest: guest(''),
    status: 1,
    says: /ended as mismatch: the guest visited \d+ pages, not 600/,
  },
  {
    title: 'a guest that skips pages and says that it did not',
    broken: [],
    guest: guest(LIE),
    status: 1,
    says: /ended as mismatch: .*(pages are wrong|of them are there)/,
  },
  {
    title: 'a source that supplies a wrong page',
    broken: [wrongWords],
    status: 1,
    says: /ended as mismatch: the guest found 1024 of \d+ words wrong, the first at GPA 0x2bc000/,
  },
  {
    title: 'a source that fails',
    broken: [failing],
    status: 1,
    says: /ended as memory-error: .*0x2bc000/,
  },
  {
    title: 'a counter that loses a page',
    broken: [counters('installed', 'row[at] - 1')],
    status: 4,
    says: /counters .* contradict each other: outcomes/,
  },
  {
    title: 'counters that lose a fault and its page alike',
    broken: [
      {
        files: ['src/measure/counters.js'],
        text: '[name, row[at]]',
        becomes: "[name, name === 'installed' || name === 'faults' ? row[at] - 1 : row[at]]",
      },
    ],
    status: 4,
    says: /contradict each other: (outcomes|fault units brought in) are/,
  },
  {
    title: 'a histogram that loses the slow ones',
    broken: [
      {
        files: ['src/measure/histogram.js'],
        text: 'merged[bucket] += counts[bucket] >>> 0',
        becomes: 'merged[bucket] += counts[bucket] > 1 ? counts[bucket] : 0',
      },
    ],
    status: 4,
    says: /contradict each other: first accesses in the histogram are/,
  },
];

/** Small, and not of one kind: the one that nothing is trapped in is measured too. */
const FAULTS = ['faults', '--delivery', 'kernel,handler,exit', '--vcpus', '1', '--pages', '600'];

for (const { title, broken, guest, status, says } of CASES) {
  t.test(`bench faults fails: ${title}`, { skip }, async (t) => {
    await failsWith(t, brokenBuild(t, broken, guest), FAULTS, status, says);
  });
}

const lying = guest(LIE);
for (const [name, ...args] of [
  ['deliveries', '--pages', '600', '--repeat', '1'],
  ['overhead', '--pages', '600', '--repeat', '1'],
  ['units', '--backing', 'shmem', '--unit', '4K', '--network', '100G', '--repeat', '1'],
]) {
  t.test(`bench ${name} fails: a guest that lies`, { skip }, async (t) => {
    const says = /ended as mismatch|the C reference/;
    await failsWith(t, brokenBuild(t, [], lying), [name!, ...args], 1, says);
  });
}

async function failsWith(
  t: Test,
  path: string,
  args: readonly string[],
  status: number,
  says: RegExp,
): Promise<void> {
  const file = join(t.testdirName, 'result.json');
  const ended = await cli(['bench', ...args, '--json', file], [], undefined, undefined, path);
  t.equal(ended.status, status, ended.stderr);
  t.match(ended.stderr, says);
  t.equal(ended.stdout, '', 'no table is printed');
  t.notOk(existsSync(file), 'no result is written');
}
