import t, { type Test } from 'tap';
import { Uart } from '../../src/vcpu/uart.js';

const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const FCR = IIR;

function setUp(): { uart: Uart; sent: number[]; levels: number[] } {
  const sent: number[] = [];
  const levels: number[] = [];
  const uart = new Uart(
    (byte) => sent.push(byte),
    (level) => levels.push(level),
  );
  return { uart, sent, levels };
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

function reads(t: Test, uart: Uart, register: number, value: number, what: string): void {
  t.equal(`0x${uart.read(register).toString(16)}`, `0x${value.toString(16)}`, what);
}

t.test('what the guest writes is sent; the transmitter is always empty', async (t) => {
  const { uart, sent, levels } = setUp();
  for (const byte of bytes('ab\xff')) {
    reads(t, uart, LSR, 0x60, 'empty');
    uart.write(DATA, byte);
  }
  t.strictSame(sent, [0x61, 0x62, 0xff]);
  t.strictSame(levels, [], 'nobody asked for an interrupt');
  reads(t, uart, IIR, 0x01, 'no interrupt');
});

t.test('the divisor latch hides data and interrupt enable', async (t) => {
  const { uart, sent } = setUp();
  uart.write(IER, 0x05);
  uart.write(LCR, 0x83);
  uart.write(DATA, 0x0c);
  uart.write(IER, 0x01);
  reads(t, uart, DATA, 0x0c, 'divisor, low');
  reads(t, uart, IER, 0x01, 'divisor, high');
  uart.write(LCR, 0x03);
  reads(t, uart, IER, 0x05, 'as before');
  t.strictSame(sent, []);
});

t.test('a transmitter interrupt: when enabled, after each byte, until IIR is read', async (t) => {
  const { uart, levels } = setUp();
  uart.write(IER, 0x02);
  t.strictSame(levels, [1], 'at once: it is empty');
  reads(t, uart, IIR, 0x02, 'told why');
  t.strictSame(levels, [1, 0], 'reading it is the answer');
  reads(t, uart, IIR, 0x01, 'and it is over');
  uart.write(DATA, 0x41);
  t.strictSame(levels, [1, 0, 1]);
  uart.write(DATA, 0x42);
  t.strictSame(levels, [1, 0, 1], 'it stays up');
  uart.write(IER, 0);
  t.strictSame(levels, [1, 0, 1, 0], 'disabled');
  uart.write(IER, 0x02);
  t.equal(levels.at(-1), 1, 'enabled again');
  uart.write(IER, 0x02);
  reads(t, uart, IIR, 0x02, '');
  uart.write(IER, 0x02);
  t.equal(levels.at(-1), 0, 'writing the same is no new event');
});

t.test(
  'input: data ready, an interrupt that lasts until all is read, and its precedence',
  async (t) => {
    const { uart, levels } = setUp();
    uart.write(FCR, 0x01);
    uart.write(IER, 0x03);
    t.equal(uart.receive(bytes('hi')), 2);
    reads(t, uart, LSR, 0x61, 'data is ready');
    reads(t, uart, IIR, 0xc4, 'received comes first, and there are FIFOs');
    reads(t, uart, IIR, 0xc4, 'reading IIR does not take it away');
    reads(t, uart, DATA, 0x68, 'h');
    reads(t, uart, DATA, 0x69, 'i');
    reads(t, uart, IIR, 0xc2, 'then the transmitter');
    t.strictSame(levels, [1, 0]);
    reads(t, uart, DATA, 0, 'nothing more');
  },
);

t.test(
  'input that nobody reads is refused once there is no room, and none of it is lost',
  async (t) => {
    const { uart } = setUp();
    const text = Uint8Array.from({ length: 5000 }, (_, index) => index);
    let given = uart.receive(text);
    t.equal(given, 4096);
    t.equal(uart.receive(text.subarray(given)), 0);
    const found: number[] = [];
    while ((uart.read(LSR) & 1) === 1) {
      found.push(uart.read(DATA));
      given += uart.receive(text.subarray(given, given + 1));
    }
    t.strictSame(Uint8Array.from(found), text);
    uart.receive(bytes('abc'));
    uart.write(FCR, 0x03);
    reads(t, uart, LSR, 0x60, 'clearing the FIFO forgets them');
  },
);

t.test('loopback: what a driver tries to find out whether there is a UART', async (t) => {
  const { uart, sent } = setUp();
  reads(t, uart, MSR, 0xb0, 'connected');
  uart.write(SCR, 0x5a);
  reads(t, uart, SCR, 0x5a, 'scratch');
  uart.write(MCR, 0x1a); // loopback, OUT2, RTS
  reads(t, uart, MSR, 0x90, 'OUT2 is carrier detect, RTS is clear to send');
  uart.write(MCR, 0x15); // loopback, OUT1, DTR
  reads(t, uart, MSR, 0x60, 'OUT1 is ring indicator, DTR is data set ready');
  uart.write(DATA, 0x7e);
  t.strictSame(sent, [], 'nothing leaves');
  reads(t, uart, DATA, 0x7e, 'it comes back');
});

t.test('another thread attaches to the same registers', async (t) => {
  const { uart } = setUp();
  const sent: number[] = [];
  const other = new Uart(
    (byte) => sent.push(byte),
    () => undefined,
    uart.buffer,
  );
  uart.write(LCR, 0x1b);
  reads(t, other, LCR, 0x1b, '');
  other.receive(bytes('x'));
  reads(t, uart, DATA, 0x78, '');
});
