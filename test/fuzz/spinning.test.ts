/** Guests that never end: each is stopped from outside, whatever it is at. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { ROOM, tryCases } from './cases.js';
import { GuestBed } from './guest-bed.js';
import type { Bytes } from './machine-code.js';
import { skippingExceptions } from './skipping-image.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());

/** In real mode. */
const REAL: Readonly<Record<string, Bytes>> = {
  'interrupts off': [0xfa, 0xeb, 0xfe],
  'interrupts on': [0xfb, 0xeb, 0xfe],
  'port by port': [0xec, 0x42, 0xeb, 0xfc],
  'lines without end': [0xba, 0xf8, 0x03, 0xb0, 0x0a, 0xee, 0xeb, 0xfd],
};

/** In 64-bit mode at CPL0 and CPL3. */
const LONG: Readonly<Record<string, Bytes>> = {
  jump: [0xeb, 0xfe],
  pause: [0xf3, 0x90, 0xeb, 0xfc],
  'port by port': [0xec, 0xff, 0xc2, 0xeb, 0xfb],
  cpuid: [0x0f, 0xa2, 0xeb, 0xfc],
  'device memory': [0xa0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0xeb, 0xf5],
  'string of 2^64': [
    0x31, 0xff, 0x48, 0xc7, 0xc1, 0xff, 0xff, 0xff, 0xff, 0xb8, 0, 0, 0, 0, 0xbf, 0, 0, 0x20, 0,
    0xbe, 0, 0, 0x20, 0, 0xf3, 0xa4, 0xeb, 0xfe,
  ],
  'the same page again': [0xf0, 0x48, 0xff, 0x04, 0x25, 0, 0, 0x30, 0, 0xeb, 0xf5],
};

/** A byte further on an instruction may take in what follows: nothing that matters. */
const NOPS: Bytes = [0x90, 0x90, 0x90, 0x90, 0x90];

/** With handlers that return: the code faults for ever. */
const FAULTING: Readonly<Record<string, Bytes>> = {
  'undefined instructions': [0x0f, 0x0b, ...NOPS, 0xeb, 0xf7],
  'pages not mapped': [0x48, 0xb8, 0, 0, 0, 0, 0, 1, 0, 0, 0x8a, 0x00, ...NOPS, 0xeb, 0xf7],
};
/** KVM does not emulate it, as CPL0 would need here. */
const BREAKPOINTS: Bytes = [0xcc, 0x90, 0xeb, 0xfc];

const guests = [
  ...Object.entries(REAL).map(([name, code]) => ({
    name: `real mode: ${name}`,
    image: Uint8Array.from(code),
  })),
  ...([0, 3] as const).flatMap((level) => [
    ...Object.entries(LONG).map(([name, code]) => ({
      name: `CPL${level}: ${name}`,
      image: buildElf({ code: Uint8Array.from(code), note: buildNote({ level }) }),
    })),
    ...Object.entries(FAULTING).map(([name, code]) => ({
      name: `CPL${level}: ${name}`,
      image: skippingExceptions(code, level),
    })),
  ]),
  { name: 'CPL3: breakpoints', image: skippingExceptions(BREAKPOINTS, 3) },
  {
    name: 'CPL0: interrupts off',
    image: buildElf({ code: Uint8Array.from([0xfa, 0xeb, 0xfe]), note: buildNote({ level: 0 }) }),
  },
];

t.test('all of them are stopped', { skip }, async (t) => {
  const cases = fc.record({
    guest: fc.constantFrom(...guests.keys()),
    milliseconds: fc.integer({ min: 1, max: 30 }),
  });
  await tryCases(t, 'spinning: stopped from outside', cases, ({ guest, milliseconds }) => {
    const { name, image } = guests[guest]!;
    const { end } = bed.run(image, {}, () => undefined, milliseconds);
    assert.equal(end.reason, 'stopped', `${name}: ${JSON.stringify(end)}`);
  });
});
