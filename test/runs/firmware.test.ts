/** SeaBIOS, a real payload that runs on any KVM: from the reset vector to where it finds no disk. */
import { existsSync } from 'node:fs';
import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

const ROMS = '/usr/share/seabios';
/** 256 KiB, more than the segment it starts in, and 128 KiB. */
const IMAGES = ['bios-256k.bin', 'bios.bin'].map((name) => `${ROMS}/${name}`);
const skip =
  kvmSkip() ||
  (IMAGES.every((path) => existsSync(path)) ? false : 'needs SeaBIOS (package seabios)');
t.setTimeout(600_000);

const MIB = 2 ** 20;
/** It waits for a keyboard and disks that are not there: some ten seconds where nothing else runs. */
const TIMEOUT_SECONDS = 120;

/** Boots firmware until it has written something, and stops it. */
async function consoleUntil(
  last: RegExp,
  options: Omit<Parameters<typeof runGuest>[0], 'firmware' | 'memoryBytes'>,
): Promise<{ console: string; result: Awaited<ReturnType<typeof runGuest>> }> {
  const seen = new AbortController();
  let console = '';
  const result = await runGuest({
    firmware: true,
    memoryBytes: 64 * MIB,
    timeoutSeconds: TIMEOUT_SECONDS,
    countKernelEvents: false,
    ...options,
    signal: seen.signal,
    onConsole: (text) => {
      console += text;
      if (last.test(console)) {
        seen.abort();
      }
    },
  });
  return { console, result };
}

for (const image of IMAGES) {
  for (const delivery of ['exit', 'handler'] as const) {
    t.test(`${image}, delivery ${delivery}: it finds RAM and vCPUs`, { skip }, async (t) => {
      const { console, result } = await consoleUntil(/Found . cpu/, { image, delivery, vcpus: 2 });
      t.match(console, /^SeaBIOS \(version /, 'the banner is the first it writes');
      t.match(console, /RamSize: 0x04000000 \[cmos\]/);
      t.match(console, /Found 2 cpu\(s\)/);
      t.match(result.error, { code: 'interrupted' }, 'until then nothing ended it');
      t.equal(result.delivery.used, delivery);
      const { count, outcomes } = result.faults;
      t.ok(count! > 10, `${count} faults`);
      t.equal(outcomes.installed, count, 'each brought in a page that was missing');
    });
  }
}

t.test('it goes on, through all that it looks for, to its boot menu', { skip }, async (t) => {
  const [image] = IMAGES as [string];
  const { console, result } = await consoleUntil(/Press ESC/, { image, delivery: 'exit' });
  t.match(console, /Found 1 serial ports/);
  t.match(console, /Turning on vga text mode console\n/);
  t.match(console, /Press ESC for boot menu/, 'it has waited for devices that there are not');
  t.match(result.error, { code: 'interrupted' });
});

t.test('a fault unit of 2M, huge pages, missing memory that is not zero', { skip }, async (t) => {
  for (const options of [
    { unitBytes: 2 * MIB },
    { backing: 'tmpfs-huge', unitBytes: 65536 },
    { backing: 'anon-private', source: { kind: 'zero' } },
  ] as const) {
    const [image] = IMAGES as [string];
    const { console, result } = await consoleUntil(/Found . cpu/, {
      image,
      delivery: 'exit',
      ...options,
    });
    t.match(console, /^SeaBIOS \(version /, JSON.stringify(options));
    t.match(result.error, { code: 'interrupted' });
  }
});

t.test('the command line: without a disk it waits until the timeout', { skip }, async (t) => {
  const [image] = IMAGES as [string];
  const run = await cli(['run', '--firmware', image, '--memory', '32M', '--timeout', '5']);
  t.equal(run.status, 124);
  t.match(run.stdout, /^SeaBIOS \(version .*\)\n/);
  t.match(run.stdout, new RegExp(`^guest +${image}, 1 vCPU, 32 MiB`, 'm'));
  t.match(run.stderr, /did not end within 5 s/);
});
