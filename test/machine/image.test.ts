import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { BUNDLED_GUESTS, pathOfBundled } from '../../src/machine/bundled-guests.js';
import { FLAT_ENTRY, GDT_ADDRESS } from '../../src/machine/guest-physical-map.js';
import { loadImage } from '../../src/machine/image.js';
import { buildElf } from '../support/elf-builder.js';
import { rootSkip, unprivileged } from '../support/host.js';

const ROOM = GDT_ADDRESS - FLAT_ENTRY;

t.test('a flat binary starts in real mode where it is loaded', async (t) => {
  const directory = t.testdir({ 'a.bin': Buffer.from([0xf4, 0xeb, 0xfd]) });
  const image = loadImage(`${directory}/a.bin`);
  t.match(image, { mode: 'real', entry: 0x1000, note: null });
  t.match(image.segments, [{ address: 0x1000, bytes: 3, data: Buffer.from([0xf4, 0xeb, 0xfd]) }]);
});

t.test('a flat binary may fill its room and not a byte more', async (t) => {
  const directory = t.testdir({ full: Buffer.alloc(ROOM), over: Buffer.alloc(ROOM + 1) });
  t.equal(loadImage(`${directory}/full`).segments[0]!.bytes, ROOM);
  t.throws(() => loadImage(`${directory}/over`), UsageError);
  t.throws(() => loadImage(`${directory}/over`), {
    message: new RegExp(`over is not ELF, and too large .*${ROOM + 1} bytes, at most ${ROOM}`),
  });
});

t.test('an ELF file is known by its contents, whatever its name', async (t) => {
  const directory = t.testdir({ 'a.bin': Buffer.from(buildElf()) });
  t.match(loadImage(`${directory}/a.bin`), { mode: 'long', entry: 0x100000 });
});

t.test('paths that hold no image', async (t) => {
  const directory = t.testdir({ empty: '', directory: {} });
  for (const [path, message] of [
    [`${directory}/empty`, /empty is empty/],
    [`${directory}/directory`, /not a regular file/],
    [`${directory}/absent`, /ENOENT/],
    ['', /ENOENT/],
    ['a\0b', /cannot be read/],
    [`${directory}/empty/file`, /ENOTDIR/],
  ] as const) {
    t.throws(() => loadImage(path), UsageError, path);
    t.throws(() => loadImage(path), { message }, path);
  }
});

t.test('an image that may not be read', { skip: rootSkip() }, async (t) => {
  const path = `${t.testdir()}/secret`;
  writeFileSync(path, 'x', { mode: 0 });
  t.throws(() => unprivileged(() => loadImage(path)), {
    code: 'usage',
    message: /EACCES/,
    hint: /--list/,
  });
});

t.test('what is not a file is refused, not read for ever', { timeout: 30_000 }, async (t) => {
  const path = `${t.testdir()}/pipe`;
  execFileSync('mkfifo', [path]);
  const module = new URL('../../src/machine/image.js', import.meta.url).href;
  const program = `import(${JSON.stringify(module)}).then(({ loadImage }) => loadImage(process.argv[1])).catch((error) => console.log(error.code))`;
  const { stdout, error } = spawnSync(process.execPath, ['-e', program, path], {
    timeout: 5_000,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  });
  t.equal(error, undefined, 'a FIFO that nobody writes into');
  t.equal(stdout, 'usage\n');
});

t.test('files of /proc that never end, or wait, are empty', { timeout: 30_000 }, async (t) => {
  const module = new URL('../../src/machine/image.js', import.meta.url).href;
  const program = `import(${JSON.stringify(module)}).then(({ loadImage }) => loadImage(process.argv[1])).catch((error) => console.log(error.message))`;
  for (const path of ['/proc/kmsg', '/proc/self/pagemap']) {
    const { stdout, error } = spawnSync(process.execPath, ['-e', program, path], {
      timeout: 5_000,
      killSignal: 'SIGKILL',
      encoding: 'utf8',
    });
    t.equal(error, undefined, path);
    t.match(stdout, /is empty|cannot be read/, path);
  }
});

t.test('the bundled guests load', async (t) => {
  for (const guest of BUNDLED_GUESTS) {
    const image = loadImage(pathOfBundled(guest));
    t.equal(image.mode, guest.file.endsWith('.elf') ? 'long' : 'real', guest.name);
    t.equal(image.note === null, guest.name === 'hello');
  }
});
