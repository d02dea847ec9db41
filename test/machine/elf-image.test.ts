import { readFileSync } from 'node:fs';
import t from 'tap';
import { FaultlineError, UsageError } from '../../src/ffi/errors.js';
import { findBundled, pathOfBundled } from '../../src/machine/bundled-guests.js';
import { isElf, parseElf } from '../../src/machine/elf-image.js';
import { buildElf, buildNote, type ElfFields } from '../support/elf-builder.js';

t.test('a valid image: segments at physical addresses, entry, note', async (t) => {
  const code = Uint8Array.from([0xf4, 0xeb, 0xfd]);
  const note = buildNote({ parameters: 0x200800 });
  const fields = { code, note, p_paddr: 0x200000n, e_entry: 0x200001n };
  const image = parseElf(buildElf(fields), 'a.elf');
  t.equal(image.mode, 'long');
  t.equal(image.entry, 0x200001);
  t.equal(image.segments.length, 1);
  const [segment] = image.segments;
  t.equal(segment!.address, 0x200000);
  t.equal(segment!.bytes, 0x1000, 'with what is zero');
  t.strictSame(Uint8Array.from(segment!.data), code);
  t.strictSame(image.note, {
    privilegeLevel: 3,
    parameters: 0x200800,
    histograms: 0x101000,
    histogramStride: 0x2000,
  });
});

t.test('an image without a note of ours', async (t) => {
  const notes = {
    'none at all': new Uint8Array(),
    'of another owner': buildNote({ name: 'GNU\0faultl' }),
    'of another type': buildNote({ type: 2 }),
  };
  for (const [name, note] of Object.entries(notes)) {
    t.equal(parseElf(buildElf({ note }), 'a.elf').note, null, name);
  }
});

t.test('our note is found behind others', async (t) => {
  const other = Buffer.concat([
    Buffer.from([3, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0]),
    Buffer.alloc(12),
  ]);
  const note = Buffer.concat([other, buildNote({ level: 0 })]);
  t.match(parseElf(buildElf({ note }), 'a.elf').note, { privilegeLevel: 0 });
});

const tooLarge = 2n ** 53n;
const ident = (at: number, value: number): Uint8Array => {
  const bytes = Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes[at] = value;
  return bytes;
};
const MALFORMED: readonly (readonly [string, Partial<ElfFields>, RegExp])[] = [
  ['32-bit', { ident: ident(4, 1) }, /EI_CLASS/],
  ['big endian', { ident: ident(5, 2) }, /EI_DATA/],
  ['another machine', { e_machine: 183 }, /e_machine/],
  ['an entry above 2^53', { e_entry: tooLarge }, /e_entry/],
  ['a table above 2^53', { e_phoff: tooLarge }, /e_phoff/],
  ['a table behind the end', { e_phoff: 0x10000n }, /points behind the end/],
  ['headers too small', { e_phentsize: 55 }, /e_phentsize/],
  ['more headers than the file holds', { e_phnum: 1170 }, /p_/],
  ['more headers than execve(2) takes', { e_phnum: 0xffff }, /e_phnum/],
  ['no header', { e_phnum: 0 }, /PT_LOAD/],
  ['no loadable segment', { p_type: 6 }, /PT_LOAD/],
  ['contents behind the end', { p_offset: 0x10000n }, /p_offset/],
  ['contents beyond the end', { p_filesz: 0x900n }, /p_offset/],
  ['an offset above 2^53', { p_offset: 2n ** 63n }, /p_offset/],
  ['more in the file than in memory', { p_memsz: 4n }, /p_filesz \(16\) exceeds its p_memsz \(4\)/],
  ['a segment of more than 1 GiB', { p_memsz: 2n ** 30n + 1n }, /p_memsz/],
  ['a segment above 2^53', { p_paddr: tooLarge }, /p_paddr/],
  ['a segment that ends above 2^53', { p_paddr: tooLarge - 1n }, /p_paddr .*out of range/],
  ['a segment over the GDT', { p_paddr: 0x8000n }, /p_paddr/],
  ['a segment over the page tables', { p_paddr: 0x10000n }, /p_paddr/],
  ['a note of another ABI', { note: buildNote({ abi: 2 }) }, /ABI version.* is 2/],
  ['a note with CPL 1', { note: buildNote({ level: 1 }) }, /CPL 1/],
  ['a note that is too short', { note: buildNote({ bytes: 31 }) }, /note has 31 bytes/],
  ['a note behind the end', { noteOffset: 0x10000n }, /n_namesz/],
  ['a note above 2^53', { noteOffset: 2n ** 60n }, /p_offset/],
];

for (const [name, fields, message] of MALFORMED) {
  t.test(`refused: ${name}`, async (t) => {
    const parse = (): unknown => parseElf(buildElf(fields), 'some/path.elf');
    t.throws(parse, UsageError);
    t.throws(parse, { message: /^image some\/path\.elf is not a usable ELF file: / });
    t.throws(parse, { message }, 'the message names the field');
  });
}

t.test('isElf looks at the first four bytes', async (t) => {
  t.equal(isElf(buildElf()), true);
  t.equal(isElf(new Uint8Array()), false);
  t.equal(isElf(Uint8Array.from([0x7f, 0x45, 0x4c])), false);
  t.equal(isElf(Uint8Array.from([0x7f, 0x45, 0x4c, 0x47])), false);
});

/** Whether parsing works, or says in a UsageError why not. */
function survives(file: Uint8Array): boolean {
  try {
    parseElf(file, 'mutated.elf');
    return true;
  } catch (error) {
    return error instanceof FaultlineError && error.code === 'usage';
  }
}

t.test('notes that are scanned again and again are refused, not read for minutes', async (t) => {
  const headers = 600;
  const notes = Buffer.alloc(2 ** 20); // of 12 bytes each, empty
  const file = Buffer.alloc(64 + headers * 56 + notes.length);
  file.set(buildElf({ e_phnum: headers }).subarray(0, 64));
  for (let index = 0; index < headers; index++) {
    const header = file.subarray(64 + index * 56);
    header.writeUInt32LE(4, 0); // PT_NOTE
    header.writeBigUInt64LE(BigInt(64 + headers * 56), 8);
    header.writeBigUInt64LE(BigInt(notes.length), 32);
  }
  t.throws(() => parseElf(file, 'a.elf'), { code: 'usage', message: /p_filesz of its notes add/ });
});

const touch = readFileSync(pathOfBundled(findBundled('touch')!));

t.test(
  'no truncation of a real image does anything but a UsageError',
  { timeout: 60_000 },
  async (t) => {
    const failed: number[] = [];
    for (let length = 0; length < touch.length; length++) {
      if (!survives(touch.subarray(0, length))) {
        failed.push(length);
      }
    }
    t.strictSame(failed, []);
  },
);

t.test(
  'a parameter block outside the segments is refused: it would be written over RAM',
  async (t) => {
    for (const parameters of [0x101000, 0x100f81, 0xfff00, 0x200000]) {
      const elf = buildElf({ note: buildNote({ parameters }) });
      t.throws(
        () => parseElf(elf, 'a.elf'),
        { message: /parameter block .* outside/ },
        `${parameters}`,
      );
    }
    t.equal(
      parseElf(buildElf({ note: buildNote({ parameters: 0 }) }), 'a.elf').note?.parameters,
      0,
    );
  },
);

t.test('segments that add up to more than 1 GiB are refused before any is written', async (t) => {
  t.throws(() => parseElf(buildElf({ p_memsz: 2n ** 30n + 1n }), 'a.elf'), {
    message: /p_memsz .* add up to/,
  });
});
