/** Port I/O of every size and count, at every port, from buffers that lie badly. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT } from '../../src/uapi/kvm-run.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { createGuestPorts, PORT_EXIT, PORT_SERIAL } from '../../src/vcpu/guest-ports.js';
import { FakeRunPage } from '../support/fake-run-page.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { ROOM, tryCases } from './cases.js';
import { expectedByte, GuestBytes } from './expected-memory.js';
import { GuestBed, LONG_MILLISECONDS, MEMORY_BYTES } from './guest-bed.js';
import { type Bytes, little } from './machine-code.js';
import { DATA_ADDRESS, DATA_END, skippingExceptions } from './skipping-image.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);

const portNumber = fc.oneof(
  fc.constantFrom(0x3f8, 0x3f9, 0x3fd, 0xf4, 0xf5, 0xa00, 0xa04, 0xa3c, 0xa3e, 0xa40, 0x9fc),
  fc.integer({ min: 0, max: 0xffff }),
);

t.test('exits of any shape', async (t) => {
  const run = new FakeRunPage();
  const exits = fc.record({
    direction: fc.constantFrom(KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT),
    port: portNumber,
    size: fc.constantFrom(1, 2, 4),
    count: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.constantFrom(1024)),
    byte: fc.integer({ min: 0, max: 255 }),
  });
  await tryCases(
    t,
    'ports: exits of any shape',
    exits,
    ({ direction, port, size, count, byte }) => {
      let written = '';
      const ports = createGuestPorts((text) => {
        written += text;
      });
      const data = Array(size * count).fill(byte);
      const exited = ports.access(run.io(direction, port, size, data));
      ports.flush();
      const out = direction === KVM_EXIT_IO_OUT;
      assert.equal(exited !== null, out && port === PORT_EXIT && size === 4);
      const printed = out && port === PORT_SERIAL && size === 1;
      assert.equal(written, printed ? String.fromCharCode(byte).repeat(count) : '');
      const ready = !out && port === PORT_SERIAL + 5;
      assert.deepEqual(run.ioData(size * count), out ? data : data.fill(ready ? 0x60 : 0xff));
    },
  );
});

const bed = skip ? null : await GuestBed.open(t.testdir());
t.teardown(() => bed?.close());

/** The instructions' sizes: prefix, and opcode from that of the byte form. */
const SIZES = [1, 2, 4] as const;
const sized = (opcode: number, size: number): Bytes =>
  size === 1 ? [opcode] : size === 2 ? [0x66, opcode + 1] : [opcode + 1];
const moveDx = (port: number): Bytes => [0x66, 0xba, ...little(port, 2)];
const LEAVE: Bytes = [...moveDx(PORT_EXIT), 0x31, 0xc0, 0xef]; // xor %eax, %eax; out

const access = fc.record({
  isOut: fc.boolean(),
  // An access that ends behind the last port is refused by the I/O map of the TSS, as by a processor.
  port: portNumber.filter((port) => port !== PORT_EXIT && port <= 0xfffc),
  size: fc.constantFrom(...SIZES),
  value: fc.integer({ min: 0, max: 0xffff_ffff }),
});

t.test('IN and OUT, one after the other', { skip }, async (t) => {
  const cases = fc.tuple(fc.array(access, { maxLength: 12 }), fc.constantFrom<0 | 3>(0, 3));
  await tryCases(t, 'ports: IN and OUT', cases, ([accesses, level]) => {
    const report: number[] = Array(16).fill(0);
    let printed = '';
    const results: number[] = [];
    const code = accesses.flatMap(({ isOut, port, size, value }, index) => {
      const word = (port - 0xa00) / 4;
      if (isOut && size === 4 && Number.isInteger(word) && word >= 0 && word < 16) {
        report[word] = value;
      }
      if (isOut && size === 1 && port === PORT_SERIAL) {
        printed += String.fromCharCode(value & 0xff);
      }
      const ones = 0xffff_ffff >>> (32 - size * 8);
      const inMask = size === 4 ? 0 : (value & ~ones) >>> 0;
      const ready = port === PORT_SERIAL + 5 ? (0x6060_6060 & ones) >>> 0 : ones;
      results.push(isOut ? value : (inMask | ready) >>> 0);
      return [
        ...[0xb8, ...little(value, 4)], // mov $value, %eax
        ...moveDx(port),
        ...sized(isOut ? 0xee : 0xec, size),
        ...[0x89, 0x04, 0x25, ...little(DATA_ADDRESS + index * 4, 4)], // mov %eax, …
      ];
    });
    const ended = bed!.run(
      skippingExceptions([...code, ...LEAVE], level),
      {},
      ({ memory }, { end }) => {
        assert.deepEqual(end, { reason: 'exited', code: 0 });
        const read = new Uint32Array(
          new GuestBytes(memory).read(DATA_ADDRESS, accesses.length * 4).buffer,
        );
        assert.deepEqual([...read], results);
      },
      LONG_MILLISECONDS,
    );
    assert.deepEqual(ended.report, report);
    assert.equal(ended.console, printed);
  });
});

/** Where a buffer may begin: before the end of a page, and of memory, and outside. */
const buffers = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(0x201000, 0x202000, 0x300000, 0x3ff000),
      fc.integer({ min: -40, max: 8 }),
    )
    .map(([page, offset]) => page + offset),
  fc.integer({ min: -64, max: 64 }).map((offset) => MEMORY_BYTES + offset),
  fc.constantFrom(DATA_ADDRESS, 0x1000_0000),
);

t.test('OUTS and INS whose buffers cross pages', { skip }, async (t) => {
  const cases = fc
    .record({
      isOut: fc.boolean(),
      start: buffers,
      size: fc.constantFrom(...SIZES),
      count: fc.oneof(
        { weight: 12, arbitrary: fc.integer({ min: 0, max: 40 }) },
        { weight: 1, arbitrary: fc.constantFrom(1024, 1500) },
      ),
      backwards: fc.boolean(),
      level: fc.constantFrom<0 | 3>(0, 3),
      unitBytes: fc.constantFrom(4096, 16384),
    })
    .filter(({ start, backwards }) => start >= DATA_END || !backwards); // the IDT lies before it
  await tryCases(t, 'ports: string I/O across pages', cases, (given) => {
    const { isOut, start, size, count, backwards, level, unitBytes } = given;
    const code = [
      ...[isOut ? 0xbe : 0xbf, ...little(start, 4)], // mov $start, %esi or %edi
      ...[0xb9, ...little(count, 4)], // mov $count, %ecx
      ...moveDx(isOut ? PORT_SERIAL : 0x60),
      backwards ? 0xfd : 0xfc, // std, cld
      ...[0xf3, ...sized(isOut ? 0x6e : 0x6c, size)],
      ...LEAVE,
    ];
    const addresses = Array.from(
      { length: count * size },
      (_, at) => start + (backwards ? -1 : 1) * Math.floor(at / size) * size + (at % size),
    );
    const ended = bed!.run(
      skippingExceptions(code, level),
      { unitBytes },
      ({ memory }, { end }) => {
        assert.deepEqual(end, { reason: 'exited', code: 0 });
        if (isOut) {
          return;
        }
        const bytes = new GuestBytes(memory);
        const written = new Set(addresses.filter((address) => address < MEMORY_BYTES));
        for (const address of written) {
          assert.equal(bytes.at(address), 0xff, `0x${address.toString(16)} was not written`);
        }
        for (const address of [...written].flatMap((at) => [at - 1, at + 1])) {
          if (!written.has(address) && address >= DATA_END && address < MEMORY_BYTES) {
            const found = bytes.at(address);
            assert(found === null || found === expectedByte(address), `0x${address.toString(16)}`);
          }
        }
      },
      LONG_MILLISECONDS,
    );
    if (isOut && size === 1) {
      const bytes = addresses.map((address) =>
        address >= MEMORY_BYTES ? 0xff : address < DATA_END ? 0 : expectedByte(address),
      );
      assert.equal(ended.console, String.fromCharCode(...bytes));
    }
  });
});
