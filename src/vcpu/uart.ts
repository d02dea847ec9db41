/**
 * A 16550A as Linux' 8250 driver and SeaBIOS use it, shared by the threads of all vCPUs: its
 * registers are words of shared memory, changed under a lock. The transmitter is always empty: a
 * byte written goes to a ring, in the order of all vCPUs, from which the main thread takes it.
 */

// Words of the shared memory; the received bytes follow, then those sent.
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
/** Bytes sent by the guest and taken by the main thread, likewise. */
const SENT = 12;
const TAKEN = 13;
/** 1: the main thread has been told that there is output, and will look until there is none. */
const OUTPUT_TOLD = 14;
/** 1: the main thread has more input, and waits to be told that there is room. */
const ROOM_WANTED = 15;
/** Bytes in loopback, and the last of them. */
const LOOPED = 16;
const WORDS = LOOPED + 1;

/** As many as are typed ahead; what is more waits with whoever types. */
const RECEIVE_BYTES = 4096;
/** What a guest that writes faster than it is read is ahead; then it waits. */
const SEND_BYTES = 256 * 1024;
/** Of the receiver, as the guest sees it; also of what comes back in loopback. */
const FIFO_BYTES = 16;

const LOCK_TRIES = 100;
/** Of a millisecond each. */
const DEAD_TRIES = 2000;
/** How soon a thread that waits sees that it is to stop. */
const WAIT_SLICE_MILLISECONDS = 20;

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
const MCR_LISTENS = 0x03;
const MCR_LOOPBACK = 0x10;
const LSR_RECEIVED = 0x01;
/** Transmitter holding register and shift register are empty. */
const LSR_TRANSMITTER_EMPTY = 0x60;
/** Clear to send, data set ready, carrier detected: somebody listens. */
const MSR_CONNECTED = 0xb0;

/** What the UART asks of the thread that it is used on. */
export interface UartWiring {
  /** Passes on a change of the interrupt line: 1 raises it. Called with the lock held. */
  readonly setLine: (level: 0 | 1) => void;
  /** Tells the main thread that there is output, or room for input that it has. */
  readonly tell: (what: 'output' | 'room') => void;
  /** Asked while it waits for the main thread to take output; true gives up. */
  readonly stopping: () => boolean;
}

export class Uart {
  /** Registers a PC has for it. */
  static readonly PORTS = 8;
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;
  private readonly input: Uint8Array;
  private readonly output: Uint8Array;
  private readonly looped: Uint8Array;

  constructor(
    private readonly wiring: UartWiring,
    buffer = new SharedArrayBuffer(WORDS * 4 + RECEIVE_BYTES + SEND_BYTES + FIFO_BYTES),
  ) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, WORDS);
    this.input = new Uint8Array(buffer, WORDS * 4, RECEIVE_BYTES);
    this.output = new Uint8Array(buffer, WORDS * 4 + RECEIVE_BYTES, SEND_BYTES);
    this.looped = new Uint8Array(buffer, WORDS * 4 + RECEIVE_BYTES + SEND_BYTES, FIFO_BYTES);
  }

  /** The guest reads a register. */
  read(register: number): number {
    this.lock();
    const value = this.readLocked(register);
    // A driver that asks for more than room to write has written all it had for now.
    const tellsOutput = register !== LSR && this.claimTelling();
    this.settle(tellsOutput);
    return value;
  }

  /** The guest writes one. It waits where it is too far ahead of whoever reads its console. */
  write(register: number, value: number): void {
    this.lock();
    while (register === DATA && !this.hasRoomToSend()) {
      this.settle(this.claimTelling());
      if (!this.waitUntilTaken()) {
        return;
      }
      this.lock();
    }
    this.writeLocked(register, value & 0xff);
    const tellsOutput = (register === DATA ? this.isHalfFull() : true) && this.claimTelling();
    this.settle(tellsOutput);
  }

  /** Somebody types. Returns how many bytes there was room for; if not all, `room` is told later. */
  receive(bytes: Uint8Array): number {
    this.lock();
    const room = RECEIVE_BYTES - this.typed;
    const taken = Math.min(room, bytes.length);
    for (let index = 0; index < taken; index++) {
      this.input[(this.words[RECEIVED]! >>> 0) % RECEIVE_BYTES] = bytes[index]!;
      this.words[RECEIVED] = (this.words[RECEIVED]! + 1) | 0;
    }
    if (taken < bytes.length) {
      this.words[ROOM_WANTED] = 1;
    }
    this.updateLine();
    this.unlock();
    return taken;
  }

  /**
   * The main thread's: what the guest has sent since, at most so many bytes. When there is nothing,
   * it will be told of what comes next.
   */
  take(most: number): Uint8Array {
    this.lock();
    const bytes = new Uint8Array(Math.min(most, this.unsent));
    const from = (this.words[TAKEN]! >>> 0) % SEND_BYTES;
    const part = Math.min(bytes.length, SEND_BYTES - from);
    bytes.set(this.output.subarray(from, from + part));
    bytes.set(this.output.subarray(0, bytes.length - part), part);
    this.words[TAKEN] = (this.words[TAKEN]! + bytes.length) | 0;
    if (bytes.length === 0) {
      this.words[OUTPUT_TOLD] = 0;
    }
    this.unlock();
    Atomics.notify(this.words, TAKEN);
    return bytes;
  }

  /** A vCPU ends: whatever there is, is told. */
  flush(): void {
    this.lock();
    this.settle(this.claimTelling());
  }

  /** Bytes typed that the guest has not read. */
  private get typed(): number {
    return (this.words[RECEIVED]! - this.words[READ]!) | 0;
  }

  /** Bytes sent that nobody has taken. */
  private get unsent(): number {
    return (this.words[SENT]! - this.words[TAKEN]!) | 0;
  }

  private get isLoopback(): boolean {
    return (this.words[MODEM_CONTROL]! & MCR_LOOPBACK) !== 0;
  }

  /**
   * Bytes in the receiver. What is typed reaches it only while the guest listens: it wants to be
   * interrupted, or says so on the modem lines, as those do that poll. A driver that is starting
   * throws away what it finds, which is then nothing.
   */
  private get waiting(): number {
    const { words } = this;
    if (this.isLoopback) {
      return words[LOOPED]!;
    }
    const listens =
      (words[INTERRUPT_ENABLE]! & IER_RECEIVED) !== 0 ||
      (words[MODEM_CONTROL]! & MCR_LISTENS) === MCR_LISTENS;
    return listens ? Math.min(this.typed, FIFO_BYTES) : 0;
  }

  private hasRoomToSend(): boolean {
    return this.hasDivisorLatch || this.isLoopback || this.unsent < SEND_BYTES;
  }

  private isHalfFull(): boolean {
    return this.unsent >= SEND_BYTES / 2;
  }

  /** Whether this thread is the one to tell the main thread of output. */
  private claimTelling(): boolean {
    const { words } = this;
    if (words[OUTPUT_TOLD] !== 0 || words[SENT] === words[TAKEN]) {
      return false;
    }
    words[OUTPUT_TOLD] = 1;
    return true;
  }

  /** Ends an access: passes on the interrupt line, gives the lock up and tells the main thread. */
  private settle(tellsOutput: boolean): void {
    const { words } = this;
    this.updateLine();
    const tellsRoom = words[ROOM_WANTED] === 1 && this.typed <= RECEIVE_BYTES / 2;
    if (tellsRoom) {
      words[ROOM_WANTED] = 0;
    }
    this.unlock();
    if (tellsOutput) {
      this.wiring.tell('output');
    }
    if (tellsRoom) {
      this.wiring.tell('room');
    }
  }

  /** Without the lock, which the main thread needs. False: give up. */
  private waitUntilTaken(): boolean {
    const taken = Atomics.load(this.words, TAKEN);
    while (((Atomics.load(this.words, SENT) - taken) | 0) >= SEND_BYTES) {
      if (this.wiring.stopping()) {
        return false;
      }
      if (Atomics.wait(this.words, TAKEN, taken, WAIT_SLICE_MILLISECONDS) !== 'timed-out') {
        return true;
      }
    }
    return true;
  }

  private readInput(): number {
    const { words } = this;
    if (this.isLoopback) {
      const byte = this.looped[0]!;
      this.looped.copyWithin(0, 1);
      words[LOOPED]! -= 1;
      return byte;
    }
    const byte = this.input[(words[READ]! >>> 0) % RECEIVE_BYTES]!;
    words[READ] = (words[READ]! + 1) | 0;
    return byte;
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
        return this.waiting === 0 ? 0 : this.readInput();
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
          this.clearReceiver();
        }
        return;
      case LCR:
        words[LINE_CONTROL] = value;
        return;
      case MCR:
        words[MODEM_CONTROL] = value & 0x1f;
        words[LOOPED] = this.isLoopback ? words[LOOPED]! : 0;
        return;
      case LSR:
      case MSR:
        return; // read-only
      default:
        words[SCRATCH] = value;
    }
  }

  private transmit(byte: number): void {
    const { words } = this;
    if (!this.isLoopback) {
      this.output[(words[SENT]! >>> 0) % SEND_BYTES] = byte;
      words[SENT] = (words[SENT]! + 1) | 0;
    } else if (words[LOOPED]! < FIFO_BYTES) {
      this.looped[words[LOOPED]!] = byte;
      words[LOOPED]! += 1;
    }
    words[TRANSMITTER_PENDING] = 1;
  }

  private clearReceiver(): void {
    const { words } = this;
    if (this.isLoopback) {
      words[LOOPED] = 0;
    } else {
      words[READ] = (words[READ]! + this.waiting) | 0;
    }
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
      this.wiring.setLine(level);
    }
  }

  private lock(): void {
    for (let tries = 0; Atomics.compareExchange(this.words, LOCK, 0, 1) !== 0; tries++) {
      if (tries > LOCK_TRIES + DEAD_TRIES) {
        return; // held for microseconds at a time: that thread has died
      }
      if (tries > LOCK_TRIES) {
        Atomics.wait(this.words, LOCK, 1, 1); // its holder has lost the CPU in between
      }
    }
  }

  private unlock(): void {
    Atomics.store(this.words, LOCK, 0);
  }
}
