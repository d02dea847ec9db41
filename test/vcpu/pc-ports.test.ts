import t from 'tap';
import { KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT } from '../../src/uapi/kvm-run.js';
import {
  PM_TIMER_HERTZ,
  PM_TIMER_PORT,
  PM1_CONTROL_PORT,
  PM1_EVENT_PORT,
  SLEEP_ENABLE,
} from '../../src/vcpu/pc-port-numbers.js';
import { allocatePc, createPcPorts } from '../../src/vcpu/pc-ports.js';
import type { Ports } from '../../src/vcpu/ports.js';
import type { VcpuEnd } from '../../src/vcpu/run-loop.js';
import { Uart, type UartWiring } from '../../src/vcpu/uart.js';
import { FakeRunPage } from '../support/fake-run-page.js';

t.setTimeout(30_000);
const COM1 = 0x3f8;
const LSR = COM1 + 5;

/** A PC's UART, and the ports of one or more of its vCPUs. */
class Machine {
  readonly run = new FakeRunPage();
  readonly levels: number[] = [];
  readonly told: string[] = [];
  readonly wiring: UartWiring = {
    setLine: (level) => this.levels.push(level),
    tell: (what) => this.told.push(what),
    stopping: () => true,
  };
  readonly uart = new Uart(this.wiring);
  readonly pc = allocatePc(-1, this.uart);
  readonly first = this.ports();

  ports(): Ports {
    return createPcPorts(this.pc, this.wiring);
  }

  /** What was written to the serial port since the last look. */
  get written(): string {
    return Buffer.from(this.uart.take(1 << 20)).toString('latin1');
  }

  out(port: number, size: number, data: readonly number[], ports = this.first): VcpuEnd | null {
    return ports.access(this.run.io(KVM_EXIT_IO_OUT, port, size, data));
  }

  in(port: number, size: number, count = 1): number[] {
    const nothing = new Array<number>(size * count).fill(0x55);
    const end = this.first.access(this.run.io(KVM_EXIT_IO_IN, port, size, nothing));
    t.equal(end, null);
    return this.run.ioData(size * count);
  }
}

const text = (value: string): number[] => [...Buffer.from(value, 'latin1')];

t.test('switching off: the sleep type of S5 in the PM1 control register', async (t) => {
  const machine = new Machine();
  const word = SLEEP_ENABLE | (5 << 10);
  t.strictSame(machine.out(PM1_CONTROL_PORT, 2, [word & 0xff, word >> 8]), {
    reason: 'powered-off',
  });
  t.equal(machine.out(PM1_CONTROL_PORT, 2, [0, 5 << 2]), null, 'not before it is enabled');
  t.equal(machine.out(PM1_CONTROL_PORT, 2, [1, 0]), null, 'ACPI mode is nothing to switch to');
  t.equal(machine.out(PM1_EVENT_PORT, 2, [0xff, 0xff]), null);
});

t.test('a reset: through the keyboard controller, or the chipset', async (t) => {
  const machine = new Machine();
  const reset = { reason: 'reset' };
  t.strictSame(machine.out(0x64, 1, [0xfe]), reset);
  t.equal(machine.out(0x64, 1, [0xaa]), null, 'other commands come to nothing');
  t.equal(machine.out(0x60, 1, [0xfe]), null);
  t.strictSame(machine.out(0xcf9, 1, [0x06]), reset);
  t.equal(machine.out(0xcf9, 1, [0x02]), null, 'only its kind is chosen');
});

t.test('what a kernel asks of devices that do next to nothing', async (t) => {
  const machine = new Machine();
  t.strictSame(machine.in(0x71, 1), [0], 'CMOS');
  t.strictSame(machine.in(0x64, 1), [0], 'the keyboard controller: nothing to be read');
  t.strictSame(machine.in(PM1_EVENT_PORT, 2), [0, 0], 'no event has come');
  t.strictSame(machine.in(PM1_EVENT_PORT + 2, 2), [0, 0], 'and none is enabled');
  t.strictSame(machine.in(PM1_CONTROL_PORT, 2), [0, 0]);
});

t.test('ports that there are not read as ones', async (t) => {
  const machine = new Machine();
  for (const port of [0, 0x60, 0x70, 0x80, 0x2f8, 0x3f7, 0x400, 0x402, 0xcf8, 0xcfc, 0xffff]) {
    for (const size of [1, 2, 4]) {
      t.strictSame(
        machine.in(port, size),
        new Array(size).fill(0xff),
        `${size} bytes of 0x${port.toString(16)}`,
      );
    }
  }
  t.equal(machine.out(0x80, 1, [0x12]), null);
  t.equal(machine.out(0xcfc, 4, [1, 2, 3, 4]), null);
  t.equal(machine.written, '');
});

t.test('string instructions: every element', async (t) => {
  const machine = new Machine();
  t.strictSame(machine.in(0x1234, 4, 5), new Array(20).fill(0xff));
  t.strictSame(machine.in(0x71, 1, 7), new Array(7).fill(0));
  machine.out(COM1, 1, text('one\ntwo\nthree'));
  t.equal(machine.written, 'one\ntwo\nthree');
  machine.out(COM1 + 4, 1, [0x03]); // it listens
  machine.uart.receive(Buffer.from('input'));
  t.strictSame(machine.in(COM1, 1, 5), text('input'));
  t.strictSame(
    machine.out(0x64, 1, [1, 0xfe, 2]),
    { reason: 'reset' },
    'the end is in the middle of them',
  );
});

t.test(
  'the console: the main thread is told when the driver pauses, or the vCPU ends',
  async (t) => {
    const machine = new Machine();
    machine.out(COM1, 1, text('# '));
    machine.in(LSR, 1);
    t.strictSame(machine.told, [], 'a driver asks that between all bytes');
    machine.in(COM1 + 2, 1);
    t.strictSame(machine.told, ['output'], 'and this when it has written all it had');
    t.equal(machine.written, '# ');
    t.equal(machine.written, '', 'it is taken once');
    machine.out(COM1, 1, [0xff, 0x00, 0x0a]);
    machine.first.flush();
    t.strictSame(machine.told, ['output', 'output']);
    t.equal(machine.written, '\xff\0\n', 'one character for each byte');
    machine.first.flush();
    t.equal(machine.told.length, 2, 'of nothing nobody is told');
  },
);

t.test('vCPUs share the UART and the events', async (t) => {
  const machine = new Machine();
  const second = machine.ports();
  machine.out(COM1, 1, text('ab'));
  machine.out(COM1, 1, text('cd\n'), second);
  t.equal(machine.written, 'abcd\n', 'in the order they wrote');
  machine.out(COM1 + 1, 1, [0x02], second);
  t.strictSame(machine.levels, [1], 'the interrupt that one enables');
  machine.in(COM1 + 2, 1);
  t.strictSame(machine.levels, [1, 0], 'the other may answer');
  machine.out(PM1_EVENT_PORT + 2, 2, [0x20, 0x01], second);
  t.strictSame(machine.in(PM1_EVENT_PORT + 2, 2), [0x20, 0x01], 'what is enabled is read back');
  t.strictSame(machine.in(PM1_EVENT_PORT, 2), [0, 0], 'nothing happens all the same');
});

t.test('one timer of power management for all vCPUs, of 3.58 MHz', async (t) => {
  const machine = new Machine();
  const second = machine.ports();
  const read = (ports = machine.first): number => {
    ports.access(machine.run.io(KVM_EXIT_IO_IN, PM_TIMER_PORT, 4, [0, 0, 0, 0]));
    return Buffer.from(machine.run.ioData(4)).readUInt32LE();
  };
  let last = read();
  let disagreed = 0;
  for (let turn = 0; turn < 2000; turn++) {
    const now = read(turn % 2 === 0 ? machine.first : second);
    disagreed += now < last ? 1 : 0;
    last = now;
  }
  t.equal(disagreed, 0, 'it does not go back from one vCPU to the other');
  const began = process.hrtime.bigint();
  const from = read();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  const ticks = read(second) - from;
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  t.ok(ticks / PM_TIMER_HERTZ <= seconds, `${ticks} ticks in ${seconds} s`);
  t.ok(ticks / PM_TIMER_HERTZ >= 0.2, `${ticks} ticks in ${seconds} s`);
});
