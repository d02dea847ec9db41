import { DefectError } from '../ffi/errors.js';
import { PERF_RECORD_LOST, PERF_RECORD_LOST_SAMPLES, perf_event_header } from '../uapi/perf.js';

const U64_BYTES = 8;

/**
 * What the kernel has written to a perf ring and nobody has read yet. Positions only grow, and are
 * taken modulo the ring's size, a power of two. Records begin at multiples of 8 and may go on at the
 * ring's start, where 32-bit words are never split but 64-bit fields at odd words are: they are read
 * in halves.
 */
export class PerfRing {
  private readonly bytes: Uint8Array;
  private readonly halves: Uint16Array;
  private readonly words: Uint32Array;
  private readonly mask: number;

  /**
   * @param data the ring without its first page
   * @param tail position of the oldest record
   * @param head position behind the newest
   */
  constructor(
    data: ArrayBuffer,
    private readonly tail: number,
    private readonly head: number,
  ) {
    const size = data.byteLength;
    if (size < U64_BYTES || !Number.isInteger(Math.log2(size))) {
      throw new DefectError(`a perf ring of ${size} bytes is no power of two`);
    }
    if (head < tail || head - tail > size) {
      throw new DefectError(`a perf ring of ${size} bytes cannot hold ${head - tail}`);
    }
    this.bytes = new Uint8Array(data);
    this.halves = new Uint16Array(data);
    this.words = new Uint32Array(data);
    this.mask = size - 1;
  }

  /** @param at position of a byte */
  u8(at: number): number {
    return this.bytes[at & this.mask]!;
  }

  u16(at: number): number {
    return this.halves[(at & this.mask) >> 1]!;
  }

  u32(at: number): number {
    return this.words[(at & this.mask) >> 2]!;
  }

  /** Exact below 2^53. */
  u64(at: number): number {
    return this.u32(at) + this.u32(at + 4) * 0x1_0000_0000;
  }

  /**
   * Visits the records from the oldest on.
   *
   * @returns how many the kernel says that it had no room for. It can say so only once there is room
   * again: of a ring that nobody reads meanwhile, the events' own counts tell.
   * @throws DefectError for a ring that is damaged
   */
  visit(record: (type: number, at: number, bytes: number) => void): number {
    const { offset, size: headerBytes } = perf_event_header;
    let lost = 0;
    for (let at = this.tail; at < this.head; ) {
      const type = this.u32(at + offset.type);
      const bytes = this.u16(at + offset.size);
      if (bytes < headerBytes || bytes % U64_BYTES !== 0 || at + bytes > this.head) {
        throw new DefectError(`a perf ring is damaged: a record of ${bytes} bytes at ${at}`);
      }
      if (type === PERF_RECORD_LOST) {
        lost += this.u64(at + headerBytes + U64_BYTES);
      } else if (type === PERF_RECORD_LOST_SAMPLES) {
        lost += this.u64(at + headerBytes);
      } else {
        record(type, at, bytes);
      }
      at += bytes;
    }
    return lost;
  }
}
