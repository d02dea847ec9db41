import t from 'tap';
import { KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT } from '../../src/uapi/kvm-run.js';
import {
  allocateFirmware,
  CMOS_INDEX,
  createFirmwarePorts,
  DEBUG_PORT,
} from '../../src/vcpu/firmware-ports.js';
import { CMOS_DATA } from '../../src/vcpu/pc-port-numbers.js';
import { allocatePc, createPcPorts, type PcData } from '../../src/vcpu/pc-ports.js';
import type { Ports } from '../../src/vcpu/ports.js';
import type { VcpuEnd } from '../../src/vcpu/run-loop.js';
import { Uart } from '../../src/vcpu/uart.js';
import { FakeRunPage } from '../support/fake-run-page.js';

t.setTimeout(30_000);
const MIB = 2 ** 20;

class Machine {
  readonly run = new FakeRunPage();
  console = '';
  private readonly wiring = {
    setLine: () => undefined,
    tell: () => undefined,
    stopping: () => true,
  };
  private readonly uart = new Uart(this.wiring);
  private readonly pc: PcData;

  readonly first: Ports;

  constructor(
    readonly memoryBytes = 64 * MIB,
    readonly vcpus = 1,
  ) {
    this.pc = allocatePc(-1, this.uart, allocateFirmware({ memoryBytes, vcpus }));
    this.first = this.ports();
  }

  ports(): Ports {
    const write = (text: string): void => {
      this.console += text;
    };
    return createFirmwarePorts(createPcPorts(this.pc, this.wiring), write, this.pc.firmware!);
  }

  /** What was written to the serial port. */
  get serial(): string {
    return Buffer.from(this.uart.take(4096)).toString('latin1');
  }

  out(port: number, size: number, data: readonly number[], ports = this.first): VcpuEnd | null {
    return ports.access(this.run.io(KVM_EXIT_IO_OUT, port, size, data));
  }

  in(port: number, size: number, count = 1, ports = this.first): number[] {
    const nothing = new Array<number>(size * count).fill(0x55);
    ports.access(this.run.io(KVM_EXIT_IO_IN, port, size, nothing));
    return this.run.ioData(size * count);
  }

  cmos(index: number): number {
    this.out(CMOS_INDEX, 1, [index]);
    return this.in(CMOS_DATA, 1)[0]!;
  }
}

t.test('the debug port says that it is one, and writes to the console', async (t) => {
  const machine = new Machine();
  t.strictSame(machine.in(DEBUG_PORT, 1), [0xe9]);
  t.equal(machine.out(DEBUG_PORT, 1, [0x53]), null);
  t.equal(machine.console, '', 'a line at a time');
  machine.out(DEBUG_PORT, 1, [...Buffer.from('eaBIOS\nab')]);
  t.equal(machine.console, 'SeaBIOS\n', 'string instructions too');
  machine.first.flush();
  t.equal(machine.console, 'SeaBIOS\nab');
  machine.out(DEBUG_PORT, 2, [0x63, 0xff, 0x0a, 0xff]);
  t.equal(machine.console, 'SeaBIOS\nabc\n', 'the low byte of a word');
  machine.out(DEBUG_PORT, 1, [0xff, 0x80, 0x0a]);
  t.ok(machine.console.endsWith('\xff\x80\n'), 'one character for each byte');
});

t.test('the CMOS memory tells how much RAM there is', async (t) => {
  const word = (machine: Machine, index: number): number =>
    machine.cmos(index) + machine.cmos(index + 1) * 256;
  for (const [memory, kibAbove1M, blocksAbove16M] of [
    [4 * MIB, 3 * 1024, 0],
    [16 * MIB, 15 * 1024, 0],
    [64 * MIB, 63 * 1024, 48 * 16],
    [3072 * MIB, 0xffff, 3056 * 16],
  ] as const) {
    const machine = new Machine(memory);
    t.equal(word(machine, 0x30), kibAbove1M, `${memory / MIB} MiB`);
    t.equal(word(machine, 0x34), blocksAbove16M);
  }
  const machine = new Machine(64 * MIB, 4);
  t.equal(machine.cmos(0x5f), 3, 'vCPUs besides the first');
  t.equal(machine.cmos(0xdf), 3, 'with NMIs masked');
  const others = Array.from({ length: 128 }, (_, index) => index).filter(
    (index) => ![0x30, 0x31, 0x34, 0x35, 0x5f].includes(index),
  );
  t.strictSame([...new Set(others.map((index) => machine.cmos(index)))], [0], 'all else is 0');
  machine.out(CMOS_DATA, 1, [7]);
  t.equal(machine.in(CMOS_DATA, 1)[0], 0, 'it cannot be written');
});

t.test('the index is that of the machine, not of the vCPU', async (t) => {
  const machine = new Machine(64 * MIB, 3);
  const second = machine.ports();
  machine.out(CMOS_INDEX, 1, [0x5f], second);
  t.strictSame(machine.in(CMOS_DATA, 1), [2]);
  t.strictSame(machine.in(CMOS_INDEX, 1), [0xff], 'it is not to be read');
});

t.test('all other ports are those of a PC', async (t) => {
  const machine = new Machine();
  machine.out(0x3f8, 1, [...Buffer.from('serial\n')]);
  t.equal(machine.serial, 'serial\n');
  t.equal(machine.console, '');
  t.strictSame(machine.in(0x403, 2), [0xff, 0xff]);
  t.strictSame(machine.out(0x64, 1, [0xfe]), { reason: 'reset' });
});
