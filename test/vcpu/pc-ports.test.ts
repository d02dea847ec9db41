import t from 'tap';
import { KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT } from '../../src/uapi/kvm-run.js';
import { allocatePc, createPcPorts } from '../../src/vcpu/pc-ports.js';
import type { Ports } from '../../src/vcpu/ports.js';
import { Uart } from '../../src/vcpu/uart.js';
import { FakeRunPage } from '../support/fake-run-page.js';

const wiring = { setLine: () => undefined, tell: () => undefined, stopping: () => true };

function setUp() {
  const uart = new Uart(wiring);
  const data = allocatePc(-1, uart);
  return { uart, one: createPcPorts(data, wiring), other: createPcPorts(data, wiring) };
}

const fake = new FakeRunPage();

/** The value an IN gives. */
function input(ports: Ports, port: number, size: number): number {
  const page = fake.io(KVM_EXIT_IO_IN, port, size, Array(size).fill(0xcc));
  if (ports.access(page) !== null) {
    throw new Error(`a read of port 0x${port.toString(16)} ended the run`);
  }
  return Buffer.from(fake.ioData(size)).readUIntLE(0, size);
}

const output = (ports: Ports, port: number, ...data: readonly number[]) =>
  ports.access(fake.io(KVM_EXIT_IO_OUT, port, data.length, data));

t.test('a device that is not there reads as ones, the CMOS and the i8042 as 0', async (t) => {
  const { one } = setUp();
  t.equal(input(one, 0x71, 1), 0);
  t.equal(input(one, 0x64, 1), 0);
  for (const port of [0x60, 0x70, 0x2f8, 0x3e8, 0xcf8, 0xcfc, 0x80, 0xffff]) {
    t.equal(input(one, port, 1), 0xff, `0x${port.toString(16)}`);
    t.equal(input(one, port & ~3, 2), 0xffff);
    t.equal(input(one, port & ~3, 4), 0xffff_ffff);
  }
});

t.test('what is written to a device that is not there is gone', async (t) => {
  const { one } = setUp();
  for (const port of [0x70, 0x71, 0x80, 0x2f8, 0xcf8]) {
    t.equal(output(one, port, 0x12), null);
    t.equal(output(one, port, 0x12, 0x34, 0x56, 0x78), null);
  }
});

t.test('three ways out', async (t) => {
  const { one } = setUp();
  t.equal(output(one, 0x604, 0x00, 0x14), null, 'a sleep type alone');
  t.strictSame(output(one, 0x604, 0x00, 0x34), { reason: 'powered-off' });
  t.equal(output(one, 0x64, 0xd4), null, 'another command of the i8042');
  t.strictSame(output(one, 0x64, 0xfe), { reason: 'reset' });
  t.equal(output(one, 0xcf9, 0x02), null, 'what kind of reset');
  t.strictSame(output(one, 0xcf9, 0x06), { reason: 'reset' });
});

t.test('one power management timer for all vCPUs, of 3.58 MHz', async (t) => {
  const { one, other } = setUp();
  let last = 0;
  for (let turn = 0; turn < 2000; turn++) {
    const now = input(turn % 2 === 0 ? one : other, 0x608, 4);
    if (now < last) {
      t.fail(`vCPUs disagree: ${now} after ${last}`);
    }
    last = now;
  }
  const began = process.hrtime.bigint();
  const from = input(one, 0x608, 4);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  const ticks = input(other, 0x608, 4) - from;
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  t.ok(ticks / 3_579_545 <= seconds, `${ticks} ticks in ${seconds} s`);
  t.ok(ticks / 3_579_545 >= 0.2, `${ticks} ticks in ${seconds} s`);
});

t.test(
  'events of power management: none happens, and what is enabled is the same for all',
  async (t) => {
    const { one, other } = setUp();
    t.equal(input(one, 0x600, 2), 0, 'status');
    t.equal(output(one, 0x602, 0x20, 0x01), null);
    t.equal(input(other, 0x602, 2), 0x120);
    t.equal(input(other, 0x600, 2), 0);
  },
);

t.test('the serial line; a string of bytes is one exit', async (t) => {
  const { uart, one, other } = setUp();
  const page = fake.io(KVM_EXIT_IO_OUT, 0x3f8, 1, [...Buffer.from('boot')]);
  t.equal(one.access(page), null);
  t.equal(output(other, 0x3f8, 0x21), null);
  t.equal(Buffer.from(uart.take(100)).toString(), 'boot!');
  t.equal(input(one, 0x3fd, 1), 0x60);
  t.equal(input(one, 0x3ff, 1), 0);
});
