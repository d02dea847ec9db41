import t, { type Test } from 'tap';
import { Uart } from '../../src/vcpu/uart.js';

const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const FCR = IIR;

function setUp() {
  const levels: number[] = [];
  const told: string[] = [];
  const uart = new Uart({
    setLine: (level) => levels.push(level),
    tell: (what) => told.push(what),
    stopping: () => true,
  });
  return { uart, levels, told, sent: () => [...uart.take(1 << 20)] };
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
  t.strictSame(sent(), [0x61, 0x62, 0xff]);
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
  t.strictSame(sent(), []);
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
    const { uart, told } = setUp();
    uart.write(IER, 0x01);
    const text = Uint8Array.from({ length: 9000 }, (_, index) => index);
    let given = uart.receive(text);
    t.equal(given, 4096);
    t.equal(uart.receive(text.subarray(given)), 0);
    const found: number[] = [];
    while ((uart.read(LSR) & 1) === 1) {
      found.push(uart.read(DATA));
      if (told.length > 0) {
        t.strictSame(told.splice(0), ['room'], 'once');
        t.ok(found.length === given - 2048, 'when there is room for half of it');
        given += uart.receive(text.subarray(given));
      }
    }
    t.strictSame(Uint8Array.from(found), text);
  },
);

t.test(
  'what is typed before a driver listens is kept, whatever it throws away as it starts',
  async (t) => {
    const { uart, levels } = setUp();
    uart.receive(bytes('typed ahead'));
    reads(t, uart, LSR, 0x60, 'nothing to be had yet');
    uart.write(FCR, 0x07);
    reads(t, uart, DATA, 0, 'drivers read it to be rid of it');
    t.strictSame(levels, []);
    uart.write(IER, 0x01);
    t.strictSame(levels, [1], 'now it listens');
    let found = '';
    while ((uart.read(LSR) & 1) === 1) {
      found += String.fromCharCode(uart.read(DATA));
    }
    t.equal(found, 'typed ahead');
    uart.receive(bytes('0123456789abcdefXYZ'));
    uart.write(FCR, 0x03);
    reads(t, uart, DATA, 'X'.charCodeAt(0), 'clearing the FIFO forgets what is in it: 16 bytes');
  },
);

t.test('a program that polls listens by the modem lines', async (t) => {
  const { uart } = setUp();
  uart.receive(bytes('x'));
  uart.write(MCR, 0x03);
  reads(t, uart, LSR, 0x61, 'there it is');
  reads(t, uart, DATA, 0x78, '');
});

t.test('the main thread is told of output once, until it finds none', async (t) => {
  const { uart, told, sent } = setUp();
  for (const byte of bytes('a line\n')) {
    uart.write(DATA, byte);
    uart.read(LSR);
  }
  t.strictSame(told, [], 'a driver that is at it has more to come');
  uart.read(IIR);
  t.strictSame(told, ['output']);
  uart.write(DATA, 0x62);
  uart.read(IIR);
  t.strictSame(told, ['output'], 'it is on its way');
  t.equal(sent().length, 8);
  uart.write(DATA, 0x63);
  uart.read(IIR);
  t.strictSame(told, ['output'], 'it will look again');
  t.equal(sent().length, 1);
  t.equal(sent().length, 0);
  uart.write(DATA, 0x64);
  uart.flush();
  t.strictSame(told, ['output', 'output'], 'it had found none');
});

t.test('a guest that is too far ahead waits; one that is to stop does not', async (t) => {
  const { uart, told, sent } = setUp();
  for (let at = 0; at < 256 * 1024 + 3; at++) {
    uart.write(DATA, at);
  }
  t.strictSame(told, ['output'], 'at half of what there is room for');
  t.strictSame(
    sent(),
    Array.from({ length: 256 * 1024 }, (_, at) => at & 0xff),
    'what came after has nowhere to go',
  );
});

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
  t.strictSame(sent(), [], 'nothing leaves');
  reads(t, uart, DATA, 0x7e, 'it comes back');
});

t.test('another thread attaches to the same registers', async (t) => {
  const { uart } = setUp();
  const other = new Uart(
    { setLine: () => undefined, tell: () => undefined, stopping: () => true },
    uart.buffer,
  );
  uart.write(LCR, 0x1b);
  reads(t, other, LCR, 0x1b, '');
  other.write(IER, 0x01);
  other.receive(bytes('x'));
  reads(t, uart, DATA, 0x78, '');
  uart.write(DATA, 0x31);
  other.write(DATA, 0x32);
  uart.write(DATA, 0x33);
  t.strictSame([...uart.take(10)], [0x31, 0x32, 0x33], 'in the order in which they wrote');
});
