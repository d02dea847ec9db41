/** Bytes under way from all vCPUs together; a guest that writes more waits, as for a slow UART. */
const MOST_BYTES = 65536;
/** How soon a thread that waits sees that it is to stop. */
const WAIT_SLICE_MILLISECONDS = 20;

/**
 * Holds a guest back that writes to its console faster than anybody reads: what is under way lies in
 * memory of ours, of which it could otherwise take as much as it wanted.
 */
export class ConsoleFlow {
  readonly buffer: SharedArrayBuffer;
  /** Bytes sent and not received. */
  private readonly pending: Int32Array;

  constructor(buffer = new SharedArrayBuffer(4)) {
    this.buffer = buffer;
    this.pending = new Int32Array(buffer);
  }

  /** The sender's: counts bytes as sent, and sleeps while too many are under way. */
  sent(bytes: number, stopping: () => boolean): void {
    let pending = Atomics.add(this.pending, 0, bytes) + bytes;
    while (pending > MOST_BYTES && !stopping()) {
      Atomics.wait(this.pending, 0, pending, WAIT_SLICE_MILLISECONDS);
      pending = Atomics.load(this.pending, 0);
    }
  }

  /** The receiver's: they are gone. */
  received(bytes: number): void {
    Atomics.sub(this.pending, 0, bytes);
    Atomics.notify(this.pending, 0);
  }
}
