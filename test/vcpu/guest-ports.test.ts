import t from 'tap';
import { KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT } from '../../src/uapi/kvm-run.js';
import {
  createGuestPorts,
  PORT_EXIT,
  PORT_REPORT,
  PORT_SERIAL,
  REPORT_WORDS,
} from '../../src/vcpu/guest-ports.js';
import type { VcpuEnd } from '../../src/vcpu/run-loop.js';
import { FakeRunPage } from '../support/fake-run-page.js';

function guest() {
  const run = new FakeRunPage();
  const written: string[] = [];
  const ports = createGuestPorts((text) => written.push(text));
  const out = (port: number, size: number, ...data: number[]): VcpuEnd | null =>
    ports.access(run.io(KVM_EXIT_IO_OUT, port, size, data));
  const print = (text: string): void => {
    for (const byte of Buffer.from(text, 'latin1')) {
      out(PORT_SERIAL, 1, byte);
    }
  };
  return { run, written, ports, out, print };
}

t.test('the console is passed on line by line', async (t) => {
  const { written, ports, print } = guest();
  print('hello\nwor');
  t.strictSame(written, ['hello\n']);
  print('ld');
  ports.flush();
  t.strictSame(written, ['hello\n', 'world']);
  ports.flush();
  t.equal(written.length, 2, 'an empty line is not written');
});

t.test('a line without an end comes in pieces, and no byte is lost', async (t) => {
  const { written, ports, print } = guest();
  const text = Array.from({ length: 1000 }, (_, index) =>
    String.fromCharCode(128 + (index % 128)),
  ).join('');
  print(text);
  ports.flush();
  t.equal(written.join(''), Buffer.from(text, 'latin1').toString('latin1'));
  t.ok(written.length >= 4);
});

t.test('a string instruction prints all its bytes', async (t) => {
  const { written, out } = guest();
  out(PORT_SERIAL, 1, 0x68, 0x69, 0x0a);
  t.strictSame(written, ['hi\n']);
});

t.test('the exit port ends the guest with 32 bits', async (t) => {
  const { out } = guest();
  t.strictSame(out(PORT_EXIT, 4, 0x78, 0x56, 0x34, 0xf2), { reason: 'exited', code: 0xf2345678 });
  t.equal(out(PORT_EXIT, 1, 0), null, 'only with all 32 of them');
});

t.test('report words go where their port says', async (t) => {
  const { ports, out } = guest();
  for (let word = 0; word < REPORT_WORDS; word++) {
    t.equal(out(PORT_REPORT + word * 4, 4, word, 0, 0, 0x80), null);
  }
  t.strictSame(
    [...ports.report],
    Array.from({ length: REPORT_WORDS }, (_, word) => 0x8000_0000 + word),
  );
});

t.test('ports between and beyond the report words are ignored', async (t) => {
  const { ports, out, written } = guest();
  for (const port of [
    PORT_REPORT - 4,
    PORT_REPORT + 1,
    PORT_REPORT + REPORT_WORDS * 4,
    0,
    0xffff,
  ]) {
    t.equal(out(port, 4, 1, 2, 3, 4), null);
  }
  out(PORT_REPORT, 2, 1, 2);
  t.ok(ports.report.every((word) => word === 0));
  t.strictSame(written, []);
});

t.test('nothing answers a read, but for a transmitter that is ready', async (t) => {
  const { run, ports } = guest();
  const read = (port: number, size: number): number[] => {
    t.equal(ports.access(run.io(KVM_EXIT_IO_IN, port, size, Array(size).fill(0))), null);
    return run.ioData(size);
  };
  t.strictSame(read(0x64, 1), [0xff]);
  t.strictSame(read(PORT_REPORT, 4), [0xff, 0xff, 0xff, 0xff]);
  t.strictSame(read(PORT_SERIAL + 5, 1), [0x60]);
});
