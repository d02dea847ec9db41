/** Linux kernels are untrusted too, and so are the initrd and the command line they come with. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { isBzImage, parseBzImage } from '../../src/machine/bzimage.js';
import { isElf, parseElf } from '../../src/machine/elf-image.js';
import {
  FIRMWARE_START,
  GDT_ADDRESS,
  IMAGE_START,
  START_INFO_ADDRESS,
} from '../../src/machine/guest-physical-map.js';
import type { Image } from '../../src/machine/image.js';
import { buildLinuxBoot, type LinuxBoot } from '../../src/machine/linux-boot.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { machineDescriptors, openDescriptors } from '../support/leaks.js';
import { ROOM, tryCases } from './cases.js';
import { checkLine, orRefuses } from './complaints.js';
import { GuestBed, MEMORY_BYTES } from './guest-bed.js';
import { anyBzImage, anyKernel, mutatedBzImage, mutatedPvh } from './kernel-files.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const MIB = 2 ** 20;

/** What a refusal of an image has to name: a field of its file. */
const FIELD =
  /\b(setup_sects|boot_flag|version|loadflags|xloadflags|syssize|pref_address|init_size|cmdline_size|initrd_addr_max|jump|EI_CLASS|EI_DATA|[enp]_[a-z]+|PT_LOAD|PHYS32_ENTRY|faultline note|note name)\b/;
/** And of what goes with it: an option. */
const OPTION = /--(cmdline|initrd|memory)|the kernel needs memory|no Linux kernel/;

function checkRefusal(wanted: RegExp): (message: string) => void {
  return (message) => {
    checkLine(message);
    assert.match(message, wanted);
  };
}

function parsed(file: Uint8Array): Image | null {
  const refused = checkRefusal(FIELD);
  if (isElf(file)) {
    return orRefuses(() => parseElf(file, 'fuzzed'), ['usage'], refused);
  }
  return isBzImage(file) ? orRefuses(() => parseBzImage(file, 'fuzzed'), ['usage'], refused) : null;
}

/** What the rest of the machine relies on. */
function checkKernel(image: Image): void {
  assert(Number.isSafeInteger(image.entry) && image.entry >= IMAGE_START, `entry ${image.entry}`);
  for (const { address, data, bytes } of image.segments) {
    assert(Number.isSafeInteger(address + bytes) && address >= IMAGE_START);
    assert(bytes >= data.length);
  }
  const { kernel } = image;
  if (kernel !== null) {
    for (const number of [kernel.endAddress, kernel.mostCommandLineBytes]) {
      assert(Number.isSafeInteger(number) && number >= 0, `${number}`);
    }
    for (const { address, bytes } of image.segments) {
      assert(address + bytes <= kernel.endAddress, 'a segment behind the end');
    }
  }
}

let kernels = 0;

function checkFile(file: Uint8Array): void {
  const image = parsed(file);
  if (image !== null) {
    checkKernel(image);
    kernels += image.kernel === null ? 0 : 1;
  }
}

t.test('bzImages, mutated', async (t) => {
  kernels = 0;
  await tryCases(t, 'images: mutated bzImage', mutatedBzImage, checkFile);
  t.comment(`${kernels} were kernels`);
});

t.test('bzImages whose header says anything', async (t) => {
  kernels = 0;
  await tryCases(t, 'images: bzImage of any fields', anyBzImage, checkFile);
  t.comment(`${kernels} were kernels`);
});

t.test('PVH notes, mutated', async (t) => {
  kernels = 0;
  await tryCases(t, 'images: mutated PVH', mutatedPvh, checkFile);
  t.comment(`${kernels} were kernels`);
});

const commandLines = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 100 }) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(2046, 2047, 2048, 20478, 20479, 20480, 65536)
      .map((length) => 'x'.repeat(length)),
  },
);
const initrds = fc.oneof(
  fc.constant(null),
  fc.constantFrom(0, 1, 4095, 4096, 4097, MIB, 3 * MIB, 64 * MIB),
  fc.nat(8 * MIB),
);
const boots = fc.record({
  file: anyKernel,
  commandLine: commandLines,
  initrdBytes: initrds,
  memoryBytes: fc.constantFrom(4 * MIB, 16 * MIB, 64 * MIB, 5 * 1024 * MIB),
  rootPointer: fc.constantFrom(0, 0xe0000),
});

/** Ends at the highest initrd of all. */
const ZEROES = new Uint8Array(64 * MIB);

t.test('what kernels find in memory besides themselves', async (t) => {
  let built = 0;
  await tryCases(t, 'images: what a kernel boots with', boots, ({ file, initrdBytes, ...rest }) => {
    const image = parsed(file);
    if (image === null) {
      return;
    }
    const initrd = initrdBytes === null ? null : ZEROES.subarray(0, initrdBytes);
    const boot: LinuxBoot = { ...rest, initrd };
    const segments = orRefuses(() => buildLinuxBoot(image, boot), ['usage'], checkRefusal(OPTION));
    if (segments !== null) {
      built++;
      checkApart(image, segments, boot);
    }
  });
  t.ok(built > 0, `${built} of them could be booted`);
});

/** All lie in memory, low ones below the tables of ours, and none on another. */
function checkApart(image: Image, segments: Image['segments'], boot: LinuxBoot): void {
  const kernelEnd = image.kernel!.endAddress;
  const ranges = segments
    .map(({ address, bytes }) => ({ address, end: address + bytes }))
    .sort((a, b) => a.address - b.address);
  ranges.forEach(({ address, end }, index) => {
    assert(address >= START_INFO_ADDRESS && end <= boot.memoryBytes, `${address} to ${end}`);
    const low = address < FIRMWARE_START;
    assert(low ? end <= GDT_ADDRESS : address >= kernelEnd, `${address} to ${end}`);
    assert(index === 0 || address >= ranges[index - 1]!.end, `${address} is taken`);
  });
  assert.equal(ranges.length, boot.initrd === null ? 2 : 3);
}

const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());
const directory = t.testdir();

/** ROMs of a page: any code at the reset vector, and before it. */
const roms = fc
  .record({ code: fc.uint8Array({ maxLength: 64 }), reset: fc.uint8Array({ maxLength: 16 }) })
  .map(({ code, reset }) => {
    const rom = Buffer.alloc(4096, 0x90);
    rom.set(code, 4096 - 128);
    rom.set([0xeb, 0x8e], 4096 - 16); // jmp to the code
    rom.set(reset, 4096 - 16);
    return rom;
  });

const runs = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      file: anyKernel,
      commandLine: fc.string({ maxLength: 40 }),
      initrdBytes: fc.constantFrom(null, 0, 1, 5000, 4 * MIB),
      firmware: fc.constant(false),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      file: roms as fc.Arbitrary<Uint8Array>,
      commandLine: fc.constant(''),
      initrdBytes: fc.constant(null),
      firmware: fc.constant(true),
    }),
  },
);

t.test('kernels and firmware of any bytes, run', { skip }, async (t) => {
  bed.run(Uint8Array.from([0xf4]));
  const before = openDescriptors();
  let refused = 0;
  await tryCases(t, 'images: kernels and firmware, run', runs, (values) => {
    const { file, commandLine, initrdBytes, firmware } = values;
    let initrd: string | null = null;
    if (initrdBytes !== null) {
      initrd = `${directory}/initrd`;
      writeFileSync(initrd, ZEROES.subarray(0, initrdBytes));
    }
    const ended = orRefuses(() =>
      bed.run(file, { firmware, commandLine, initrd, memoryBytes: MEMORY_BYTES }),
    );
    if (ended === null) {
      refused++;
      assert.deepEqual(machineDescriptors(), [], 'what was opened before it was refused is closed');
    }
  });
  t.comment(`${JSON.stringify(Object.fromEntries(bed.ends))}, ${refused} refused`);
  t.ok(bed.ends.size >= 2 && refused > 0);
  t.strictSame(openDescriptors(), before);
});
