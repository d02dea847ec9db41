/**
 * The bundled guest with its code replaced: it writes over its parameters and its histograms and
 * reports what it likes. The result is made of that.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { summarize } from '../../src/machine/summarize.js';
import { openAccess } from '../../src/memory/guest-access.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { ROOM, tryCases } from './cases.js';
import { GuestBed } from './guest-bed.js';
import { type Bytes, instructions, little } from './machine-code.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());

const word = fc.oneof(
  fc.constantFrom(0, 1, 512, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);
/** mov $value, offset(%rdi), which is where its parameters begin. */
const store = (offset: number, value: number): Bytes => [
  ...[0xc7, 0x87, ...little(offset, 4), ...little(value, 4)],
];
const report = (index: number, value: number): Bytes => [
  ...[0x66, 0xba, ...little(0xa00 + index * 4, 2), 0xb8, ...little(value, 4), 0xef],
];

t.test('whatever touch reports, the result is made of numbers', { skip }, async (t) => {
  const cases = fc.record({
    parameters: fc.array(fc.tuple(fc.integer({ min: 0, max: 31 }), word), { maxLength: 8 }),
    counts: fc.array(fc.tuple(fc.integer({ min: 0, max: 1023 }), word), { maxLength: 8 }),
    words: fc.array(fc.tuple(fc.integer({ min: 0, max: 15 }), word), { maxLength: 16 }),
    code: fc.oneof(fc.constant(new Uint8Array()), instructions(64)),
    exitCode: fc.constantFrom(0, 0, 1, 0xffff_ffff),
  });
  await tryCases(t, 'own tables: what touch reports', cases, (given) => {
    const { parameters, counts, words, code, exitCode } = given;
    bed.boot(
      'touch',
      {},
      (machine) => {
        const { entry, note } = machine.image;
        const histogram = note!.histograms - note!.parameters;
        const replaced = [
          ...parameters.flatMap(([at, value]) => store(at * 4, value)),
          ...counts.flatMap(([at, value]) => store(histogram + at * 4, value)),
          ...words.flatMap(([at, value]) => report(at, value)),
          ...code,
          ...[0x66, 0xba, 0xf4, 0x00, 0xb8, ...little(exitCode, 4), 0xef],
        ];
        openAccess(machine.memory.layout).write(entry, Uint8Array.from(replaced));
      },
      (machine, { end, crew, error }) => {
        const reports = crew.vcpuFinishes.map((finish) => finish.end.report);
        const judgement =
          error === null
            ? machine.workload.judge(reports)
            : { visits: null, complaint: null, maxCycles: null };
        if (end.reason === 'exited') {
          assert(judgement.complaint !== null, 'no guest visits 512 pages by chance');
        }
        const text = JSON.stringify(summarize(machine, crew, judgement, null), (_key, value) => {
          assert(typeof value !== 'number' || Number.isFinite(value), `${_key} is ${value}`);
          return value;
        });
        assert(text.length > 0);
      },
    );
  });
  t.comment(JSON.stringify(Object.fromEntries(bed.ends)));
  t.ok((bed.ends.get('exited') ?? 0) > 0, 'some reach their exit');
});
