/** Guests made of one instruction, which KVM's emulator may not know: the run's end then names it. */
import assert from 'node:assert/strict';
import t from 'tap';
import { explainUnemulated } from '../../src/machine/unemulated.js';
import { describeHost } from '../../src/measure/host.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { GuestBed, LONG_MILLISECONDS } from '../fuzz/guest-bed.js';
import { buildElf, buildNote, buildPvhNote } from '../support/elf-builder.js';
import { kvmSkip, uffdSkip } from '../support/host.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(120_000);
const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());

/** Writes 0 to the exit port, or switches a PC off. */
const EXIT = {
  16: [0x66, 0x31, 0xc0, 0xba, 0xf4, 0x00, 0x66, 0xef],
  32: [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef],
  64: [0x31, 0xc0, 0x66, 0xba, 0xf4, 0x00, 0xef],
} as const;

/** An image of so much code, and where it begins. */
const MODES = {
  16: { entry: 0x1000, image: (code: number[]) => Uint8Array.from(code) },
  32: {
    entry: 0x100000,
    image: (code: number[]) =>
      buildElf({ code: Uint8Array.from(code), note: buildPvhNote(0x100000) }),
  },
  64: {
    entry: 0x100000,
    image: (code: number[]) =>
      buildElf({ code: Uint8Array.from(code), note: buildNote({ level: 0 }) }),
  },
} as const;

/** Each runs on any CPU with VMX or SVM, in the modes named. */
const INSTRUCTIONS: readonly {
  readonly code: readonly number[];
  readonly text: Readonly<Partial<Record<keyof typeof MODES, string>>>;
}[] = [
  { code: [0x9b], text: { 16: 'fwait', 32: 'fwait', 64: 'fwait' } },
  { code: [0xd9, 0xe8], text: { 16: 'fld1', 32: 'fld1', 64: 'fld1' } },
  {
    code: [0xf3, 0x0f, 0xb8, 0xc1],
    text: { 16: 'popcnt %cx,%ax', 32: 'popcnt %ecx,%eax', 64: 'popcnt %ecx,%eax' },
  },
  {
    code: [0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x00, 0x10, 0x00],
    text: { 64: 'lock cmpxchg16b 0x100000' },
  },
];

let unemulated = 0;

for (const bits of [16, 32, 64] as const) {
  for (const { code, text } of INSTRUCTIONS) {
    const name = text[bits];
    if (name === undefined) {
      continue;
    }
    t.test(`${name}, ${bits}-bit code`, { skip }, async (t) => {
      const { entry, image } = MODES[bits];
      const nops = [0x90, 0x90, 0x90];
      const rip = entry + nops.length;
      bed.run(
        image([...nops, ...code, ...EXIT[bits]]),
        {},
        (machine, { end, error }) => {
          if (end.reason !== 'failed') {
            t.equal(end.reason, bits === 32 ? 'powered-off' : 'exited', 'this KVM runs it');
            t.equal(error, null);
            return;
          }
          unemulated++;
          assert(end.code !== undefined, JSON.stringify(end));
          const hex = code.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
          const what = `KVM cannot emulate the instruction '${name}' (${hex}, ${bits}-bit code)`;
          assert(error !== null);
          t.equal(error.code, 'guest');
          t.ok(error.message.endsWith(what), error.message);
          t.ok(error.message.startsWith(`vCPU 0 at RIP 0x${rip.toString(16)} (`), error.message);
          t.not(error.hint, '', 'why that is');
          const [vcpu] = machine.vcpus;
          const read = explainUnemulated(machine.memory, vcpu!, 'vCPU 0', []);
          t.equal(read?.message, `vCPU 0: ${what}`, 'the same where KVM tells no bytes');
        },
        LONG_MILLISECONDS,
      );
    });
  }
}

t.test('an emulator that knows all of them is none', { skip }, async (t) => {
  const isShadow = describeHost().paging === 'shadow';
  t.comment(`${unemulated} were not emulated`);
  t.ok(isShadow ? unemulated > 0 : true, 'under shadow paging some are unknown');
});

t.test('code that is missing is not called an instruction', { skip }, async (t) => {
  // jmp to a page that nothing has brought in.
  const jump = [0xb8, 0x00, 0x00, 0x30, 0x00, 0xff, 0xe0];
  bed.run(
    MODES[64].image(jump),
    { source: { kind: 'zero' } },
    (machine, { end }) => {
      const [vcpu] = machine.vcpus;
      if (end.reason === 'failed') {
        t.strictSame(end.code, [], 'KVM could not read it either');
        t.equal(explainUnemulated(machine.memory, vcpu!, 'vCPU 0', []), null);
      } else {
        t.comment(`the CPU itself ran it: ${end.reason}`);
        t.not(machine.memory.states.stateOf(0x300), 0, 'and brought it in');
      }
    },
    LONG_MILLISECONDS,
  );
});
