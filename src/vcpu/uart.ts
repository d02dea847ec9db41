/**
 * A 16550A as Linux' 8250 driver and SeaBIOS use it, shared by the threads of all vCPUs: its
 * registers are words of shared memory, changed under a lock. The transmitter is always empty: a
 * byte written is gone at once.
 */

// Words of the shared memory; the received bytes follow.
const LOCK = 0;
const INTERRUPT_ENABLE = 1;
const LINE_CONTROL = 2;
const MODEM_CONTROL = 3;
const SCRATCH = 4;
const DIVISOR_LOW = 5;
const DIVISOR_HIGH = 6;
const FIFO_CONTROL = 7;
/** The transmitter has become empty, and nobody has been told by an interrupt. */
const TRANSMITTER_PENDING = 8;
/** Bytes received and read; both only grow, modulo 2^32. */
const RECEIVED = 9;
const READ = 10;
/** The level of the interrupt line, as it was last passed on. */
const LINE_LEVEL = 11;
const WORDS = 12;

/** As many as are typed ahead; what is more is refused. */
const RECEIVE_BYTES = 4096;

// Registers, by their offset from the first port.
const DATA = 0;
const IER = 1;
const IIR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;

const IER_RECEIVED = 0x01;
const IER_TRANSMITTER = 0x02;
const IIR_NONE = 0x01;
const IIR_TRANSMITTER = 0x02;
const IIR_RECEIVED = 0x04;
const IIR_FIFOS = 0xc0;
const FCR_ENABLE = 0x01;
const FCR_CLEAR_RECEIVER = 0x02;
const LCR_DIVISOR_LATCH = 0x80;
const MCR_LOOPBACK = 0x10;
const LSR_RECEIVED = 0x01;
/** Transmitter holding register and shift register are empty. */
const LSR_TRANSMITTER_EMPTY = 0x60;
/** Clear to send, data set ready, carrier detected: somebody listens. */
const MSR_CONNECTED = 0xb0;

/** Called with the lock held: 1 raises the interrupt line, 0 lowers it. */
export type SetInterruptLine = (level: 0 | 1) => void;

export class Uart {
  /** Registers a PC has for it. */
  static readonly PORTS = 8;
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;
  private readonly input: Uint8Array;

  /**
   * @param send receives what the guest writes, a byte at a time, under the lock
   * @param setLine passes on a change of the interrupt line
   */
  constructor(
    private readonly send: (byte: number) => void,
    private readonly setLine: SetInterruptLine,
    buffer = new SharedArrayBuffer(WORDS * 4 + RECEIVE_BYTES),
  ) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, WORDS);
    this.input = new Uint8Array(buffer, WORDS * 4);
  }

  /** The guest reads a register. */
  read(register: number): number {
    this.lock();
    const value = this.readLocked(register);
    this.updateLine();
    this.unlock();
    return value;
  }

  /** The guest writes one. */
  write(register: number, value: number): void {
    this.lock();
    this.writeLocked(register, value & 0xff);
    this.updateLine();
    this.unlock();
  }

  /** Somebody types. Returns how many bytes there was room for. */
  receive(bytes: Uint8Array): number {
    this.lock();
    const room = RECEIVE_BYTES - this.waiting;
    const taken = Math.min(room, bytes.length);
    for (let index = 0; index < taken; index++) {
      this.receiveLocked(bytes[index]!);
    }
    this.updateLine();
    this.unlock();
    return taken;
  }

  private get waiting(): number {
    return (this.words[RECEIVED]! - this.words[READ]!) | 0;
  }

  private receiveLocked(byte: number): void {
    this.input[(this.words[RECEIVED]! >>> 0) % RECEIVE_BYTES] = byte;
    this.words[RECEIVED] = (this.words[RECEIVED]! + 1) | 0;
  }

  private get hasDivisorLatch(): boolean {
    return (this.words[LINE_CONTROL]! & LCR_DIVISOR_LATCH) !== 0;
  }

  private readLocked(register: number): number {
    const { words } = this;
    switch (register) {
      case DATA:
        if (this.hasDivisorLatch) {
          return words[DIVISOR_LOW]!;
        }
        if (this.waiting === 0) {
          return 0;
        }
        {
          const byte = this.input[(words[READ]! >>> 0) % RECEIVE_BYTES]!;
          words[READ] = (words[READ]! + 1) | 0;
          return byte;
        }
      case IER:
        return this.hasDivisorLatch ? words[DIVISOR_HIGH]! : words[INTERRUPT_ENABLE]!;
      case IIR: {
        const cause = this.cause();
        if (cause === IIR_TRANSMITTER) {
          words[TRANSMITTER_PENDING] = 0; // reading it is the answer
        }
        return cause | ((words[FIFO_CONTROL]! & FCR_ENABLE) === 0 ? 0 : IIR_FIFOS);
      }
      case LCR:
        return words[LINE_CONTROL]!;
      case MCR:
        return words[MODEM_CONTROL]!;
      case LSR:
        return LSR_TRANSMITTER_EMPTY | (this.waiting === 0 ? 0 : LSR_RECEIVED);
      case MSR:
        return this.modemStatus();
      default:
        return words[SCRATCH]!;
    }
  }

  private writeLocked(register: number, value: number): void {
    const { words } = this;
    switch (register) {
      case DATA:
        if (this.hasDivisorLatch) {
          words[DIVISOR_LOW] = value;
        } else {
          this.transmit(value);
        }
        return;
      case IER:
        if (this.hasDivisorLatch) {
          words[DIVISOR_HIGH] = value;
          return;
        }
        // Whoever asks for it while the transmitter is empty is told at once: Linux relies on it.
        if ((value & ~words[INTERRUPT_ENABLE]! & IER_TRANSMITTER) !== 0) {
          words[TRANSMITTER_PENDING] = 1;
        }
        words[INTERRUPT_ENABLE] = value & 0x0f;
        return;
      case IIR: // FIFO control, when written
        words[FIFO_CONTROL] = value;
        if ((value & FCR_CLEAR_RECEIVER) !== 0) {
          words[READ] = words[RECEIVED]!;
        }
        return;
      case LCR:
        words[LINE_CONTROL] = value;
        return;
      case MCR:
        words[MODEM_CONTROL] = value & 0x1f;
        return;
      case LSR:
      case MSR:
        return; // read-only
      default:
        words[SCRATCH] = value;
    }
  }

  private transmit(byte: number): void {
    if ((this.words[MODEM_CONTROL]! & MCR_LOOPBACK) === 0) {
      this.send(byte);
    } else if (this.waiting < RECEIVE_BYTES) {
      this.receiveLocked(byte);
    }
    this.words[TRANSMITTER_PENDING] = 1;
  }

  /** Of several causes the most urgent. */
  private cause(): number {
    const enabled = this.words[INTERRUPT_ENABLE]!;
    if ((enabled & IER_RECEIVED) !== 0 && this.waiting > 0) {
      return IIR_RECEIVED;
    }
    if ((enabled & IER_TRANSMITTER) !== 0 && this.words[TRANSMITTER_PENDING] === 1) {
      return IIR_TRANSMITTER;
    }
    return IIR_NONE;
  }

  /** In loopback the outputs come back as inputs: a driver looks for that to find a UART. */
  private modemStatus(): number {
    const outputs = this.words[MODEM_CONTROL]!;
    if ((outputs & MCR_LOOPBACK) === 0) {
      return MSR_CONNECTED;
    }
    const dtr = (outputs & 1) << 5;
    const rts = (outputs & 2) << 3;
    return dtr | rts | ((outputs & 4) << 4) | ((outputs & 8) << 4);
  }

  private updateLine(): void {
    const level = this.cause() === IIR_NONE ? 0 : 1;
    if (this.words[LINE_LEVEL] !== level) {
      this.words[LINE_LEVEL] = level;
      this.setLine(level);
    }
  }

  private lock(): void {
    while (Atomics.compareExchange(this.words, LOCK, 0, 1) !== 0) {
      // Held for less than a microsecond, but for an interrupt that is passed on: a few.
    }
  }

  private unlock(): void {
    Atomics.store(this.words, LOCK, 0);
  }
}
