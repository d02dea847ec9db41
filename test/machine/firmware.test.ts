import { writeFileSync } from 'node:fs';
import t from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { loadFirmware } from '../../src/machine/firmware.js';
import { completeConfig, type RunOptions } from '../../src/machine/machine-config.js';
import { cli } from '../support/cli.js';

t.setTimeout(30_000);
const KIB = 1024;
const MIB = 2 ** 20;
const path = `${t.testdir()}/rom`;

function rom(bytes: number): string {
  const contents = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4 * KIB) {
    contents.writeUInt32LE(at, at);
  }
  writeFileSync(path, contents);
  return path;
}

t.test('its end is below 1 MiB as well', async (t) => {
  for (const [bytes, low] of [
    [4 * KIB, 4 * KIB],
    [128 * KIB, 128 * KIB],
    [256 * KIB, 256 * KIB],
    [2 * MIB, 256 * KIB],
  ] as const) {
    const { rom: contents, image } = loadFirmware(rom(bytes));
    t.equal(contents.length, bytes);
    t.match(image, { mode: 'firmware', entry: 0xfff0, note: null, kernel: null });
    const [segment] = image.segments;
    t.match(segment, { address: MIB - low, bytes: low });
    t.equal(Buffer.from(segment!.data).readUInt32LE(0), bytes - low);
  }
});

t.test('what is no ROM is refused', async (t) => {
  for (const bytes of [0, 1, 4095, 64 * KIB + 1, 16 * MIB + 4096]) {
    t.throws(() => loadFirmware(rom(bytes)), UsageError);
    t.throws(() => loadFirmware(path), { message: new RegExp(`--firmware .* has ${bytes} bytes`) });
  }
  t.doesNotThrow(() => loadFirmware(rom(16 * MIB)));
  t.throws(() => loadFirmware('/nowhere/rom'), { message: /^--firmware \/nowhere\/rom cannot be/ });
  t.throws(() => loadFirmware('/dev/null'), { message: /not a regular file/ });
});

t.test('an error before there is a run names it', async (t) => {
  const { status, stdout, stderr } = await cli(['run', '--firmware', '/nowhere/rom', '--json']);
  t.equal(status, 2);
  t.match(JSON.parse(stdout), {
    image: '/nowhere/rom',
    outcome: 'error',
    error: { code: 'usage', message: /^--firmware \/nowhere\/rom cannot be read/ },
  });
  t.match(stderr, /--firmware/);
});

t.test('what does not go together with it', async (t) => {
  const refused = (options: Partial<RunOptions>, message: RegExp): void => {
    t.throws(() => completeConfig({ image: 'rom', firmware: true, ...options }), { message });
    t.doesNotThrow(
      () => completeConfig({ image: 'kernel', ...options }),
      'without it that is fine',
    );
  };
  refused(
    { memoryBytes: 3 * 2 ** 30 + 4096 },
    /--memory 3145732K is more than a guest with a PC's devices/,
  );
  refused({ commandLine: 'quiet' }, /--cmdline is for a Linux kernel/);
  refused({ initrd: 'initrd.gz' }, /--initrd is for a Linux kernel/);
  t.equal(completeConfig({ image: 'rom', firmware: true }).firmware, true);
});
