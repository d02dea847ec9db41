/** libuv starts those of its pool when it first needs them. */
const POOL_THREADS = 4;

/**
 * Random machine code in every mode that an image can start in. Whatever it does, the run ends: by
 * itself, or when it is told to, in one of the ways a guest can end, and leaves memory as the page
 * states say.
 */
import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { AroundPolicy } from '../../src/fault/around.js';
import type { BackingName } from '../../src/memory/backing.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import type { VcpuEnd } from '../../src/vcpu/run-loop.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { mappingsOf, openDescriptors, threadCount } from '../support/leaks.js';
import { until } from '../support/until.js';
import { type PropertyName, ROOM, tryCases } from './cases.js';
import { GuestBed } from './guest-bed.js';
import { instructions } from './machine-code.js';
import { skippingExceptions } from './skipping-image.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());

const setups = fc.record({
  backing: fc.constantFrom<BackingName>(
    'shmem',
    'shmem',
    'anon-private',
    'anon-shared',
    'shmem-private',
  ),
  unitBytes: fc.constantFrom(4096, 4096, 65536),
  around: fc.constantFrom<AroundPolicy>(0, 0, 7, 'adaptive'),
});

/** @param common how at least a fifth of such guests end: none of them is missing by chance */
async function survives(
  t: Test,
  name: PropertyName,
  bits: 16 | 64,
  common: readonly VcpuEnd['reason'][],
  imageOf: (code: Uint8Array) => Uint8Array,
): Promise<void> {
  bed.run(imageOf(Uint8Array.from([0xf4]))); // what is loaded once is loaded now
  bed.ends.clear();
  const before = openDescriptors();
  const threads = threadCount();
  await tryCases(t, name, fc.tuple(instructions(bits), setups), ([code, setup]) => {
    bed.run(imageOf(code), setup);
  });
  t.comment(JSON.stringify(Object.fromEntries(bed.ends)));
  for (const reason of common) {
    t.ok(bed.ends.has(reason), `some end as ${reason}`);
  }
  t.strictSame(openDescriptors(), before);
  // One left by each guest would be hundreds.
  await until('no thread is left', () => threadCount() <= threads + POOL_THREADS);
  t.strictSame(mappingsOf('faultline'), []);
}

t.test('16-bit real mode', { skip }, async (t) => {
  await survives(t, 'code: real mode', 16, ['failed', 'halted'], (code) =>
    Uint8Array.from([...code, 0xf4]),
  );
});

const COMMON = {
  // An exception is a triple fault; at CPL3, where HLT and I/O are exceptions too, nearly always.
  0: ['failed', 'shutdown'],
  3: ['shutdown'],
} as const;
const COMMON_PAST_EXCEPTIONS = { 0: ['failed', 'halted'], 3: ['stopped'] } as const;

for (const level of [0, 3] as const) {
  t.test(`64-bit mode, CPL${level}`, { skip }, async (t) => {
    const note = buildNote({ level });
    await survives(t, `code: CPL${level}`, 64, COMMON[level], (code) => buildElf({ code, note }));
  });
  t.test(`64-bit mode, CPL${level}, past its exceptions`, { skip }, async (t) => {
    const name = `code: CPL${level}, past exceptions` as const;
    await survives(t, name, 64, COMMON_PAST_EXCEPTIONS[level], (code) =>
      skippingExceptions([...code], level),
    );
  });
}
