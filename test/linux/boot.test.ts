/**
 * A stock Linux kernel boots with all of its memory missing, to a shell, and switches itself off.
 *
 * FAULTLINE_LINUX_MATRIX=1 boots with every delivery, backing and number of vCPUs, and tries every way
 * out; FAULTLINE_LINUX_BOOTS=20 boots so often in a row, alternately in exit and handler delivery, on
 * FAULTLINE_LINUX_BACKING (shmem), and does nothing else.
 */
import t from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { withHugetlbPages } from '../support/hugetlb.js';
import { boot, bootedWell, COMMAND_LINE, describeBoot, linuxSkip } from './linux-guest.js';

const skip = linuxSkip();
const MIB = 2 ** 20;
t.setTimeout(3_600_000);
const boots = skip ? 0 : Number(process.env.FAULTLINE_LINUX_BOOTS ?? 0);
const options = { skip: skip || (boots > 0 && 'FAULTLINE_LINUX_BOOTS is set'), timeout: 300_000 };

/** What a person would do at the prompt. */
class Dialogue implements AsyncIterable<Uint8Array> {
  private seen = '';
  private changed = (): void => undefined;

  constructor(private readonly lines: readonly string[]) {}

  /** What the console shows. */
  show(text: string): void {
    this.seen += text;
    this.changed();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (const [index, line] of this.lines.entries()) {
      while (this.seen.split('guest# ').length < index + 2) {
        await new Promise<void>((resolve) => {
          this.changed = resolve;
        });
      }
      yield Buffer.from(`${line}\n`);
    }
  }
}

t.test(
  'exit, hugetlb: a dialogue with a shell, and what the kernel says of its machine',
  options,
  async (t) => {
    const memoryBytes = 128 * MIB;
    if (!withHugetlbPages(t, 2 * MIB, memoryBytes / (2 * MIB))) {
      return;
    }
    const dialogue = new Dialogue([
      'dmesg | grep -e "Linux version" -e "Hypervisor detected"',
      'echo answer $((6 * 7)); cat /proc/cmdline',
      'poweroff -f',
    ]);
    const { result, console } = await boot('', {
      backing: 'hugetlb-2M',
      delivery: 'exit',
      memoryBytes,
      commandLine: COMMAND_LINE.replace('console=ttyS0 ', ''),
      input: dialogue,
      onConsole: (text) => dialogue.show(text),
    });
    t.comment(describeBoot({ result, console }));
    t.equal(result.error, null);
    t.equal(result.outcome, 'completed');
    bootedWell(t, { result, console });
    t.match(console, /Linux version \d+\.\d+\.\d+\S* \(/, 'its banner');
    t.match(console, /Hypervisor detected: KVM/);
    t.match(console, /answer 42/);
    t.match(console, /console=ttyS0 quiet/, 'a console that nobody asked for');
    t.match(console, /reboot: Power down/);
    t.strictSame(
      result.perVcpu.map(({ end }) => end),
      ['powered-off'],
    );
    t.equal(result.config.unitBytes, 2 * MIB);
    t.ok(result.faults.count <= memoryBytes / (2 * MIB) + 1, `${result.faults.count} faults`);
  },
);

t.test('handler, tmpfs with huge pages: two vCPUs', options, async (t) => {
  const booted = await boot('poweroff', {
    backing: 'tmpfs-huge',
    delivery: 'handler',
    vcpus: 2,
    around: 'adaptive',
  });
  t.comment(describeBoot(booted));
  t.equal(booted.result.error, null);
  t.equal(booted.result.outcome, 'completed');
  bootedWell(t, booted);
});

t.test(
  'exit, shmem: page after page, and its hot exits stay in their thread',
  options,
  async (t) => {
    const booted = await boot('poweroff', { delivery: 'exit', around: 'adaptive' });
    t.comment(describeBoot(booted));
    const { result } = booted;
    t.equal(result.error, null);
    t.equal(result.outcome, 'completed');
    bootedWell(t, booted);
    const [{ kvmRuns, portAccesses, messages, heap }] = result.perVcpu as [
      (typeof result.perVcpu)[number],
    ];
    t.ok(portAccesses! < 5000, `${portAccesses} exits for ports`);
    t.ok(messages! < kvmRuns / 50, `${messages} messages in ${kvmRuns} exits`);
    t.equal(heap.collections, 0, 'and nothing is allocated for them');
  },
);

const matrix = process.env.FAULTLINE_LINUX_MATRIX === '1' && !skip;
const often = { timeout: 300_000, skip: skip || (!matrix && 'FAULTLINE_LINUX_MATRIX is not 1') };
for (const delivery of ['exit', 'handler'] as const) {
  for (const backing of ['shmem', 'tmpfs-huge', 'hugetlb-2M', 'anon-private'] as const) {
    for (const vcpus of [1, 2]) {
      t.test(`${delivery}, ${backing}, ${vcpus} vCPUs`, often, async (t) => {
        if (backing === 'hugetlb-2M' && !withHugetlbPages(t, 2 * MIB, 128)) {
          return;
        }
        const booted = await boot('poweroff', { delivery, backing, vcpus });
        t.comment(describeBoot(booted));
        t.equal(booted.result.error, null);
        t.equal(booted.result.outcome, 'completed');
        bootedWell(t, booted);
      });
    }
  }
}

const ways: readonly { what: string; outcome: string; options?: Partial<RunOptions> }[] = [
  { what: 'reboot', outcome: 'shutdown' },
  {
    what: 'reboot',
    outcome: 'shutdown',
    options: { commandLine: `${COMMAND_LINE} then=reboot reboot=t` },
  },
  { what: 'panic', outcome: 'shutdown' },
];
for (const { what, outcome, options = {} } of ways) {
  t.test(`${what} ${options.commandLine ?? ''}: ${outcome}`, often, async (t) => {
    const booted = await boot(what, { around: 'adaptive', ...options });
    t.comment(describeBoot(booted));
    t.equal(booted.result.outcome, outcome);
    t.match(booted.result.error, { code: 'shutdown' });
    bootedWell(t, booted);
  });
}

t.test('a guest that writes much to its console', often, async (t) => {
  const { result, console } = await boot('flood', { around: 'adaptive' });
  t.comment(describeBoot({ result, console }));
  t.equal(result.outcome, 'completed');
  const line = `${'0123456789abcdef'.repeat(4).slice(0, -2)}\n`;
  const flood = line.repeat(100_000 / line.length + 1).slice(0, 100_000);
  t.ok(console.replaceAll('\r\n', '\n').includes(flood), 'not one of 100,000 bytes is lost');
  t.match(console, /guest: flood done/);
});

t.test('a guest that uses its memory finds in it what it wrote', often, async (t) => {
  const { result, console } = await boot('memory', { around: 'adaptive' });
  t.comment(describeBoot({ result, console }));
  t.equal(result.outcome, 'completed');
  t.match(console, /guest: memory 0 wrong of 33554432/);
});

t.test(
  `${boots} boots in a row`,
  { skip: skip || (boots === 0 && 'FAULTLINE_LINUX_BOOTS is not set'), timeout: 3_600_000 },
  async (t) => {
    const backing = process.env.FAULTLINE_LINUX_BACKING ?? 'shmem';
    const memoryBytes = 128 * MIB;
    if (backing === 'hugetlb-2M' && !withHugetlbPages(t, 2 * MIB, memoryBytes / (2 * MIB))) {
      return;
    }
    for (let index = 0; index < boots; index++) {
      const delivery = index % 2 === 0 ? 'exit' : 'handler';
      const booted = await boot('poweroff', {
        delivery,
        backing: backing as NonNullable<RunOptions['backing']>,
        memoryBytes,
        around: backing.startsWith('hugetlb') ? 0 : 'adaptive',
        vcpus: 1 + (Math.floor(index / 2) % 2),
      });
      t.comment(`boot ${index + 1}: ${describeBoot(booted)}`);
      t.equal(booted.result.outcome, 'completed', `boot ${index + 1}`);
      bootedWell(t, booted);
    }
  },
);
