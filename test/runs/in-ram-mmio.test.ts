import { join } from 'node:path';
import t from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { PATTERN_STEP, patternBase } from '../../src/source/pattern-source.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import { kvmSkip } from '../support/host.js';

const skip = kvmSkip();
t.setTimeout(120_000);

// At CPL0, so that shadow paging emulates it: the access to a missing page comes out as MMIO.
const code = [
  ...[0x8b, 0x04, 0x25, 0x04, 0x10, 0x30, 0x00], // mov 0x301004, %eax
  ...[0x66, 0xba, 0x00, 0x0a], //                   mov $0xa00, %dx
  0xef, //                                          out %eax, %dx      report word 0
  ...[0xc7, 0x04, 0x25, 0x08, 0x20, 0x30, 0x00, 0x78, 0x56, 0x34, 0x12], // movl $0x12345678, 0x302008
  ...[0x8b, 0x04, 0x25, 0x08, 0x20, 0x30, 0x00], // mov 0x302008, %eax
  ...[0x66, 0xba, 0x04, 0x0a], //                   mov $0xa04, %dx
  0xef, //                                          out %eax, %dx      report word 1
  ...[0x8b, 0x04, 0x25, 0x04, 0x20, 0x30, 0x00], // mov 0x302004, %eax
  ...[0x66, 0xba, 0x08, 0x0a], //                   mov $0xa08, %dx
  0xef, //                                          out %eax, %dx      report word 2
  0xf4, //                                          hlt
];

const elf = (machineCode: readonly number[], level: 0 | 3): Uint8Array =>
  buildElf({ code: Uint8Array.from(machineCode), note: buildNote({ level }) });

for (const delivery of ['exit', 'handler', 'kernel'] as const) {
  t.test(`a guest at CPL0 reads and writes missing pages: ${delivery}`, { skip }, async (t) => {
    const image = join(t.testdir({ 'cpl0.elf': Buffer.from(elf(code, 0)) }), 'cpl0.elf');
    const result = await runGuest({
      image,
      delivery,
      memoryBytes: 8 * 2 ** 20,
      load: 'resident', // hardware paging would load the image on demand
      timeoutSeconds: 30,
    });
    t.match(result, { outcome: 'completed', perVcpu: [{ end: 'halted' }] });
    const [vcpu] = result.perVcpu;
    const word = (page: number, index: number): number =>
      (patternBase(page, 1) + Math.imul(index, PATTERN_STEP)) >>> 0;
    t.strictSame(
      vcpu?.report.slice(0, 3),
      [word(0x301, 1), 0x12345678, word(0x302, 1)],
      'it reads what the source supplied and what it wrote',
    );
    if (delivery !== 'kernel') {
      t.equal(result.faults.outcomes.installed, 2, 'two pages were missing');
    }
    if (delivery === 'exit' && result.host.paging === 'shadow') {
      t.ok(
        vcpu!.ramAccesses >= 2,
        `${vcpu!.ramAccesses} accesses were served from the alias mapping`,
      );
    }
  });
}

t.test('a CPL3 guest takes the same faults by trap marker', { skip }, async (t) => {
  // The HLT at its end is privileged: leave through the exit port instead.
  const leave = [0x66, 0xba, 0xf4, 0x00, 0x31, 0xc0, 0xef];
  const file = Buffer.from(elf([...code.slice(0, -1), ...leave], 3));
  const image = join(t.testdir({ 'cpl3.elf': file }), 'cpl3.elf');
  const result = await runGuest({
    image,
    delivery: 'exit',
    memoryBytes: 8 * 2 ** 20,
    load: 'resident',
    timeoutSeconds: 30,
  });
  t.match(result, {
    outcome: 'completed',
    perVcpu: [{ end: 'exited', exitCode: 0, ramAccesses: 0 }],
  });
  t.equal(result.faults.outcomes.installed, 2);
  t.equal(result.perVcpu[0]?.report[1], 0x12345678);
});
