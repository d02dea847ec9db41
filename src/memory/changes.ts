/** A waiter wakes this often to see whether the machine is stopping, should the holder die. */
const WAIT_SLICE_MILLISECONDS = 20;

/**
 * Serializes whoever takes pages out of the guest mapping or puts them back by other means than a
 * fault: discard, collapse, repair. A vCPU that faults without an address asks here whether that
 * explains it.
 *
 * One word in shared memory counts up when a change begins and when it ends: odd while one is going
 * on. Whoever read an even number before entering the guest, and reads the same afterwards, was not
 * disturbed.
 */
export class MemoryChanges {
  private readonly word: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.word = new Int32Array(buffer);
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(4);
  }

  /** Costs some nanoseconds. */
  get sequence(): number {
    return Atomics.load(this.word, 0);
  }

  /** Whether a change has taken place, or is taking place, since `sequence` was read. */
  disturbed(sequence: number): boolean {
    return (sequence & 1) === 1 || this.sequence !== sequence;
  }

  /**
   * Waits until no other change is going on, and begins one.
   *
   * @param stopping asked now and then; true gives up
   * @returns false if it gave up
   */
  begin(stopping: () => boolean): boolean {
    for (;;) {
      const sequence = this.sequence;
      if ((sequence & 1) === 0) {
        if (Atomics.compareExchange(this.word, 0, sequence, (sequence + 1) | 0) === sequence) {
          return true;
        }
      } else if (stopping()) {
        return false;
      } else {
        Atomics.wait(this.word, 0, sequence, WAIT_SLICE_MILLISECONDS);
      }
    }
  }

  /** Ends the change that `begin` has begun. */
  end(): void {
    Atomics.add(this.word, 0, 1);
    Atomics.notify(this.word, 0);
  }

  /** Sleeps while a change is going on, a short while at most. */
  wait(): void {
    const sequence = this.sequence;
    if ((sequence & 1) === 1) {
      Atomics.wait(this.word, 0, sequence, WAIT_SLICE_MILLISECONDS);
    }
  }
}
