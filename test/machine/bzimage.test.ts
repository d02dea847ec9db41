import fc from 'fast-check';
import t from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { isBzImage, parseBzImage } from '../../src/machine/bzimage.js';
import { boot_params, setup_header } from '../../src/uapi/bootparam.js';
import { buildBzImage, CODE_BYTES } from '../support/bzimage-builder.js';

t.test('a kernel: its code where it prefers to be, its 64-bit entry, its header', async (t) => {
  const file = buildBzImage();
  t.ok(isBzImage(file));
  const image = parseBzImage(file, 'vmlinuz');
  t.match(image, { mode: 'linux', entry: 0x100_0200, note: null });
  const [segment] = image.segments;
  t.match(segment, { address: 0x100_0000, bytes: CODE_BYTES });
  t.ok(segment!.data.every((byte) => byte === 0xf4) && segment!.data.length === CODE_BYTES);
  t.match(image.kernel, {
    endAddress: 0x120_0000,
    mostCommandLineBytes: 2047,
    highestInitrdAddress: 0x7fff_ffff,
  });
  const header = boot_params.offset.hdr;
  t.strictSame(
    Buffer.from(image.kernel!.setupHeader!),
    Buffer.from(file.subarray(header, header + setup_header.size)),
  );
});

t.test('setup_sects 0 means 4; what follows the code is left out', async (t) => {
  const [segment] = parseBzImage(buildBzImage({ setup_sects: 0 }, CODE_BYTES + 99), 'k').segments;
  t.equal(segment!.bytes, CODE_BYTES);
  const cut = parseBzImage(buildBzImage({}, CODE_BYTES - 15), 'k').segments[0]!;
  t.equal(cut.bytes, CODE_BYTES - 15, 'syssize counts in 16 bytes');
});

t.test('what is no bzImage is not taken for one', async (t) => {
  t.notOk(isBzImage(buildBzImage({ header: 0 })));
  t.notOk(isBzImage(new Uint8Array()));
});

t.test('a kernel that is cut off within its header is refused by the field', async (t) => {
  const file = buildBzImage().subarray(0, 600);
  t.ok(isBzImage(file));
  t.throws(() => parseBzImage(file, 'vmlinuz'), {
    name: 'UsageError',
    message: /setup_sects|init_size|pref_address|syssize/,
  });
});

const MALFORMED = [
  ['no boot_flag', { boot_flag: 0 }, CODE_BYTES, /boot_flag is 0/],
  ['an old protocol', { version: 0x020b }, CODE_BYTES, /version is 2\.11/],
  ['a 32-bit kernel', { xloadflags: 0 }, CODE_BYTES, /xloadflags/],
  ['a kernel for low memory', { loadflags: 0 }, CODE_BYTES, /loadflags/],
  ['no code', { syssize: 0x20 }, CODE_BYTES, /syssize/],
  ['less code than it says', {}, CODE_BYTES - 16, /syssize says 4096 bytes, and 4080/],
  ['more code than a file can have', { syssize: 0xffff_ffff }, CODE_BYTES, /syssize/],
  ['a place over the tables', { pref_address: 0x10000 }, CODE_BYTES, /pref_address/],
  ['a place within a page', { pref_address: 0x1000123 }, CODE_BYTES, /pref_address/],
  ['less memory than its own code', { init_size: CODE_BYTES - 1 }, CODE_BYTES, /init_size/],
] as const;

for (const [what, fields, codeBytes, message] of MALFORMED) {
  t.test(`${what} is refused by name`, async (t) => {
    t.throws(() => parseBzImage(buildBzImage(fields, codeBytes), 'vmlinuz'), {
      name: 'UsageError',
      message,
    });
  });
}

t.test('a header that ends too soon, or in what follows it in the zero page', async (t) => {
  const file = buildBzImage();
  for (const [jump, end] of [
    [0, '0x202'],
    [0x264 - 0x203, '0x263'],
    [0x291 - 0x202, '0x291'],
    [255, '0x301'],
  ] as const) {
    file[0x201] = jump;
    t.throws(() => parseBzImage(file, 'vmlinuz'), {
      name: 'UsageError',
      message: new RegExp(`jump says that the header ends at ${end},`),
    });
  }
  for (const end of [0x264, 0x290]) {
    file[0x201] = end - 0x202;
    t.equal(parseBzImage(file, 'vmlinuz').kernel?.setupHeader?.length, end - 0x1f1);
  }
});

t.test('an address above 2^53', async (t) => {
  const file = buildBzImage({});
  const at = boot_params.offset.hdr + setup_header.offset.pref_address;
  new DataView(file.buffer, file.byteOffset).setBigUint64(at, 2n ** 63n, true);
  const refused = { message: /pref_address .*out of range/ };
  t.throws(() => parseBzImage(file, 'vmlinuz'), refused);
  new DataView(file.buffer, file.byteOffset).setBigUint64(at, 2n ** 53n - 1n, true);
  t.throws(() => parseBzImage(file, 'vmlinuz'), refused, 'its end is above');
});

t.test('any damage to the header gives an image or an error that names a field', async () => {
  const whole = buildBzImage();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0x1f1, max: 0x270 }), fc.integer({ min: 0, max: 255 })), {
        maxLength: 8,
      }),
      fc.integer({ min: 0, max: whole.length }),
      (damage, length) => {
        const file = Uint8Array.from(whole).subarray(0, length);
        for (const [at, value] of damage) {
          file[at] = value;
        }
        if (!isBzImage(file)) {
          return true;
        }
        try {
          const { segments, kernel } = parseBzImage(file, 'k');
          return segments[0]!.bytes <= file.length && kernel!.setupHeader!.length <= 0x202 + 255;
        } catch (error) {
          return (
            error instanceof UsageError && /image k is not a usable bzImage/.test(error.message)
          );
        }
      },
    ),
    { numRuns: 2000 },
  );
});
