/** What src says about guests against guest-images/abi.h and the parameter block of touch.S. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { parseElf } from '../../src/machine/elf-image.js';
import { FLAT_ENTRY, WORKLOAD_START } from '../../src/machine/guest-physical-map.js';
import { MAX_VCPUS } from '../../src/machine/machine-config.js';
import { encodeMce } from '../../src/machine/mce-guest.js';
import { encodeTouch, type TouchParameters, WRITE_SALT } from '../../src/machine/touch-guest.js';
import { HISTOGRAM_BYTES, SUB_BITS } from '../../src/measure/histogram.js';
import { PATTERN_MIX_A, PATTERN_MIX_B, PATTERN_STEP } from '../../src/source/pattern-source.js';
import { PORT_EXIT, PORT_REPORT, PORT_SERIAL } from '../../src/vcpu/guest-ports.js';
import { buildElf, buildNote } from '../support/elf-builder.js';

function defines(file: string): Map<string, string> {
  const source = readFileSync(new URL(`../../../guest-images/${file}`, import.meta.url), 'utf8');
  return new Map(
    [...source.matchAll(/^#define (\w+)\s+("[^"]*"|\w+)/gm)].map(([, name, value]) => [
      name!,
      value!,
    ]),
  );
}

const abi = defines('abi.h');
const number = (name: string): number => Number(abi.get(name));

t.test('abi.h and src agree', async (t) => {
  const ours = {
    PORT_SERIAL,
    PORT_EXIT,
    PORT_REPORT,
    FLAT_ENTRY,
    WORKLOAD_START,
    HISTOGRAM_BYTES,
    HISTOGRAM_SUB_BITS: SUB_BITS,
    MAX_VCPUS,
    PATTERN_STEP: PATTERN_STEP >>> 0,
    PATTERN_MIX_A: PATTERN_MIX_A >>> 0,
    PATTERN_MIX_B: PATTERN_MIX_B >>> 0,
    WRITE_SALT,
  };
  for (const [name, value] of Object.entries(ours)) {
    t.equal(value, number(name), name);
  }
  const elsewhere = ['ABI_VERSION', 'NOTE_TYPE', 'NOTE_NAME'];
  t.strictSame(
    [...abi.keys()].filter((name) => !(name in ours) && !elsewhere.includes(name)),
    [],
    'nothing in abi.h is left out',
  );
});

t.test('a note of abi.h is read', async (t) => {
  const name = `${JSON.parse(abi.get('NOTE_NAME')!)}\0`;
  const note = buildNote({ name, type: number('NOTE_TYPE'), abi: number('ABI_VERSION') });
  t.match(parseElf(buildElf({ note }), 'a.elf').note, { privilegeLevel: 3 });
});

t.test('the parameter block is laid out as touch.S reads it', async (t) => {
  const offsets = new Map([...defines('touch/touch.S')].filter(([name]) => name.startsWith('P_')));
  const parameters: TouchParameters = {
    pages: 0x1_0000_0001,
    order: 'strided',
    writePercent: 33,
    passes: 5,
    share: 'overlap',
    seed: 0xfedc_ba98,
    stride: 77,
    every: 64,
  };
  const expected: Readonly<Record<string, number>> = {
    P_START: WORKLOAD_START,
    P_PAGES: 0x1_0000_0001,
    P_ORDER: 2,
    P_WRITE: 33,
    P_PASSES: 5,
    P_SEED: 0x8765_4321,
    P_OVERLAP: 1,
    P_STRIDE: 77,
    P_ORDER_SEED: 0xfedc_ba98,
    P_ZERO: 0,
    P_EVERY: 64,
  };
  const block = Buffer.from(encodeTouch(parameters, { kind: 'pattern', seed: 0x8765_4321 }));
  t.equal(block.length, offsets.size * 8);
  for (const [name, offset] of offsets) {
    t.equal(block.readBigUInt64LE(Number(offset)), BigInt(expected[name] ?? -1), name);
  }
  const zero = Buffer.from(encodeTouch(parameters, { kind: 'zero' }));
  t.equal(zero.readBigUInt64LE(Number(offsets.get('P_ZERO'))), 1n);
});

t.test('the parameter block is laid out as mce.S reads it', async (t) => {
  const offsets = new Map([...defines('mce/mce.S')].filter(([name]) => name.startsWith('P_')));
  const seed = 0x8765_4321;
  const expected: Readonly<Record<string, number>> = {
    P_START: WORKLOAD_START,
    P_PAGES: 77,
    P_SEED: seed,
    P_ZERO: 0,
    P_OVERLAP: 1,
    P_SHIFT: 16,
  };
  const parameters = { pages: 77, share: 'overlap' } as const;
  const block = Buffer.from(encodeMce(parameters, { kind: 'pattern', seed }, 65536));
  t.equal(block.length, offsets.size * 8);
  for (const [name, offset] of offsets) {
    t.equal(block.readBigUInt64LE(Number(offset)), BigInt(expected[name] ?? -1), name);
  }
});

t.test('orders have the numbers that touch.S dispatches on', async (t) => {
  const source = readFileSync(
    new URL('../../../guest-images/touch/touch.S', import.meta.url),
    'utf8',
  );
  const [, table] = /^orders: \.quad +(.*)$/m.exec(source)!;
  table!.split(', ').forEach((order, index) => {
    const parameters = { order } as TouchParameters;
    const defaults = {
      pages: 1,
      writePercent: 0,
      passes: 1,
      share: 'partition',
      seed: 1,
      stride: 1,
      every: 1,
    };
    const block = encodeTouch({ ...defaults, ...parameters } as TouchParameters, { kind: 'zero' });
    t.equal(Buffer.from(block).readBigUInt64LE(16), BigInt(index), order);
  });
});
