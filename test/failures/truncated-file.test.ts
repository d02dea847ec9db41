/** The file that guest memory is made of is cut short by another process while the guest runs. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { detachedMount } from '../../src/ffi/detached-mount.js';
import type { RunOptions } from '../../src/index.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { Gate } from '../../src/source/faulty-source.js';
import { TMPFS_MAGIC } from '../../src/uapi/magic.js';
import { cli } from '../support/cli.js';
import { failingRun, failureTest } from '../support/failure-test.js';
import { kvmSkip, rootSkip } from '../support/host.js';
import { withHugetlbPages } from '../support/hugetlb.js';
import { until } from '../support/until.js';

t.setTimeout(400_000);
const TMPFS = '/dev/shm';
const MEMORY_BYTES = 8 * 2 ** 20;
const PAGE = 0x600000;
/** What is left of it: the image, and some of what the guest touches. */
const LEFT_BYTES = 0x400000;

const onTmpfs = (): string | false =>
  statfsSync(TMPFS).type === TMPFS_MAGIC ? false : `needs a tmpfs at ${TMPFS}`;
const skip = kvmSkip() || onTmpfs();

function emptyFile(t: Test, directory: string): string {
  const path = join(mkdtempSync(join(directory, 'faultline-')), 'memory');
  writeFileSync(path, '');
  t.teardown(() => rmSync(join(path, '..'), { recursive: true }));
  return path;
}

/** As anybody can who may write to it. */
function cutShort(t: Test, path: string, bytes: number): void {
  execFileSync('truncate', ['-s', String(bytes), path]);
  t.comment(`another process has cut the file short to ${statSync(path).size} bytes`);
}

for (const delivery of ['exit', 'handler'] as const) {
  for (const [kind, backing] of [
    ['shared', 'file'],
    ['private', 'file-private'],
  ] as const) {
    failureTest(
      `in the middle of filling one of its pages: ${delivery}, ${kind}`,
      { skip },
      async (t) => {
        const path = emptyFile(t, TMPFS);
        const gate = new Gate();
        const options: Partial<RunOptions> = {
          delivery,
          backing: `${backing}:${path}`,
          failSource: [{ kind: 'hold', address: PAGE, gate: gate.buffer }],
          onProgress: () => {
            if (gate.heldThread !== null) {
              cutShort(t, path, LEFT_BYTES);
              gate.open();
            }
          },
        };
        const result = await failingRun(t, options, 'lost');
        t.equal(result.pages.mismatched, (PAGE - LEFT_BYTES) / 4096, 'what was there and is lost');
        t.match(result, { outcome: 'memory-error', error: { message: /cut short to 4194304/ } });
        t.equal(statSync(path).size, 0, 'it is emptied as ever');
      },
    );
  }
}

for (const delivery of ['exit', 'handler'] as const) {
  for (const moment of ['in the middle of a fill', 'when all of it is there'] as const) {
    failureTest(
      `a file on hugetlbfs, ${moment}: ${delivery}`,
      { skip: skip || rootSkip(), prepare: (t) => withHugetlbPages(t, HUGE_PAGE_BYTES, 8) },
      async (t) => {
        using mount = detachedMount('hugetlbfs', { pagesize: '2M' });
        const path = `/proc/${process.pid}/fd/${mount.fd}/memory`;
        writeFileSync(path, '');
        const gate = new Gate();
        const early = moment === 'in the middle of a fill';
        let cut = false;
        const options: Partial<RunOptions> = {
          delivery,
          backing: `file:${path}`,
          memoryBytes: 8 * HUGE_PAGE_BYTES,
          params: { passes: '1000000' },
          failSource: early ? [{ kind: 'hold', address: 0xc00000, gate: gate.buffer }] : [],
          onProgress: ({ faults }) => {
            if (!cut && (early ? gate.heldThread !== null : faults >= 7)) {
              cut = true;
              cutShort(t, path, 0x800000);
              gate.open();
            }
          },
        };
        const result = await failingRun(t, options, 'lost');
        t.match(result, { outcome: 'memory-error', error: { message: /cut short to 8388608/ } });
      },
    );
  }
}

/** Has a guest touch all its memory over and over, and does something when all of it is there. */
async function whileItRuns(
  t: Test,
  options: Partial<RunOptions>,
  act: () => void,
): ReturnType<typeof failingRun> {
  let acted = false;
  return failingRun(
    t,
    {
      ...options,
      memoryBytes: MEMORY_BYTES,
      params: { passes: '1000000' },
      timeoutSeconds: 20,
      onProgress: ({ faults, pages, seconds }) => {
        const isThere = options.delivery === 'kernel' ? seconds > 1 : faults >= pages!;
        if (isThere && !acted) {
          acted = true;
          act();
        }
      },
    },
    'lost',
  );
}

for (const delivery of ['kernel', 'exit', 'handler'] as const) {
  for (const backing of ['file', 'file-private'] as const) {
    failureTest(
      `while the guest touches what was there: ${delivery}, ${backing}`,
      { skip },
      async (t) => {
        const path = emptyFile(t, TMPFS);
        const options = { delivery, backing: `${backing}:${path}` } as const;
        const result = await whileItRuns(t, options, () => cutShort(t, path, LEFT_BYTES));
        t.match(result, { outcome: 'memory-error', error: { message: /cut short to 4194304/ } });
      },
    );
  }
}

failureTest('a file on a disk, while the guest touches what was there', { skip }, async (t) => {
  const path = emptyFile(t, tmpdir());
  const options = { backing: `file:${path}` } as const;
  const result = await whileItRuns(t, { ...options, delivery: 'kernel' }, () =>
    cutShort(t, path, LEFT_BYTES),
  );
  t.match(result, { outcome: 'memory-error', error: { message: /cut short to 4194304/ } });
});

for (const delivery of ['exit', 'handler'] as const) {
  failureTest(
    `it is as long as before, but what was cut off is zeroes, which no guest sees: ${delivery}`,
    { skip },
    async (t) => {
      const path = emptyFile(t, TMPFS);
      const options = { delivery, backing: `file:${path}` } as const;
      const result = await whileItRuns(t, options, () => {
        cutShort(t, path, LEFT_BYTES);
        truncateSync(path, MEMORY_BYTES);
        t.comment(`and it is ${statSync(path).size} bytes again`);
      });
      t.match(result.outcome, /^(memory-error|error)$/, 'the guest did not complete');
      t.ok(['memory-error', 'guest'].includes(result.error!.code), result.error!.code);
    },
  );
}

/** Real mode: says R, then reads a word of memory at 0x50000 over and over, each time emulated. */
const reads = Buffer.from([
  ...[0xba, 0xf8, 0x03], //       mov $0x3f8, %dx
  ...[0xb8, 0x00, 0x50], //       mov $0x5000, %ax
  ...[0x8e, 0xd8], //             mov %ax, %ds
  ...[0xa1, 0x00, 0x00], //       mov 0, %ax
  ...[0xb0, 0x52, 0xee], //       mov $'R', %al; out
  ...[0xb0, 0x0a, 0xee], //       mov $'\n', %al; out
  ...[0xa1, 0x00, 0x00], //   1:  mov 0, %ax
  ...[0xeb, 0xfb], //             jmp 1b
]);

for (const delivery of ['kernel', 'exit', 'handler'] as const) {
  failureTest(`under a guest whose accesses are emulated: ${delivery}`, { skip }, async (t) => {
    const path = emptyFile(t, TMPFS);
    const image = join(t.testdir({ reads }), 'reads');
    const result = await failingRun(
      t,
      {
        image,
        delivery,
        backing: `file:${path}`,
        timeoutSeconds: 20,
        onConsole: () => cutShort(t, path, 0x40000),
      },
      'lost',
    );
    t.match(result, { outcome: 'memory-error', error: { message: /cut short to 262144/ } });
  });
}

t.test('at any moment of a run: it ends by itself, and is told', { skip }, async (t) => {
  for (let round = 0; round < 12; round++) {
    const path = emptyFile(t, TMPFS);
    const delivery = (['exit', 'handler', 'kernel'] as const)[round % 3]!;
    const later = 20 * round;
    const result = await cli(
      [
        ...['run', 'touch', '--memory', '8M', '--backing', `file:${path}`, '--delivery', delivery],
        ...['--timeout', '20', '--json', '--param', 'passes=5'],
      ],
      [],
      () => undefined,
      () => {
        // As soon as it has its size, a little later each time, until the run is over.
        const script = 'until [ -s "$1" ]; do :; done; sleep $3; truncate -s "$2" "$1"';
        const args = ['-c', script, 'sh', path, '65536', String(later / 1000)];
        const cutter = spawn('timeout', ['20', 'sh', ...args], { stdio: 'ignore' });
        t.teardown(() => cutter.kill());
      },
    );
    t.equal(result.signal, null, 'no SIGBUS');
    t.ok([0, 1, 3].includes(result.status!), `${delivery}, ${later} ms: ${result.status}`);
    t.notMatch(result.stderr, /^\s+at /m);
    t.comment(`${later} ms after it had its size: ${result.status} ${result.stderr.trim()}`);
    await until('it is emptied', () => statSync(path).size <= 65536);
  }
});
