/** Perf rings made by hand: records at the kernel's layout, wherever in the ring a test wants them. */
import type { LockFormats } from '../../src/measure/lock-trace.js';
import { PerfRing } from '../../src/measure/perf-ring.js';
import type { TracepointFormat } from '../../src/measure/tracepoint-format.js';
import {
  PERF_RECORD_LOST,
  PERF_RECORD_LOST_SAMPLES,
  PERF_RECORD_SAMPLE,
} from '../../src/uapi/perf.js';

/** Ids and offsets that no kernel has: nothing may be assumed. */
const format = (id: number, fields: readonly string[]): TracepointFormat => {
  const all: [string, { offset: number; size: number }][] = [
    ['common_type', { offset: 0, size: 2 }],
    ['write', { offset: 5, size: 1 }],
    ['success', { offset: 7, size: 1 }],
    ['mm', { offset: 12, size: 8 }],
  ];
  return { id, fields: Object.fromEntries(all.filter(([name]) => fields.includes(name))) };
};

export const FORMATS: LockFormats = {
  start: format(1001, ['common_type', 'write', 'mm']),
  returned: format(1002, ['common_type', 'write', 'mm', 'success']),
  released: format(1003, ['common_type', 'write', 'mm']),
};

export const OUR_MM = 0xffff_8881_0000_1000n;

const RAW_BYTES = 20;

export class MadeRing {
  private readonly data: DataView;
  private head: number;

  /** @param tail where its first record goes: anywhere, for positions only grow */
  constructor(
    readonly bytes: number,
    private readonly tail = 0,
  ) {
    this.data = new DataView(new ArrayBuffer(bytes));
    this.head = tail;
  }

  /** A sample of a tracepoint. */
  event(
    { id }: { readonly id: number },
    time: number,
    write: boolean,
    { success = true, mm = OUR_MM }: { success?: boolean; mm?: bigint } = {},
  ): this {
    const record = new DataView(new ArrayBuffer(48)); // 28 + RAW_BYTES, a multiple of 8
    record.setUint32(8, process.pid, true);
    record.setUint32(12, process.pid, true);
    record.setBigUint64(16, BigInt(time), true);
    record.setUint32(24, RAW_BYTES, true);
    record.setUint16(28, id, true);
    record.setUint8(28 + 5, write ? 1 : 0);
    record.setUint8(28 + 7, success ? 1 : 0);
    record.setBigUint64(28 + 12, mm, true);
    return this.add(PERF_RECORD_SAMPLE, record);
  }

  /** A lock from asking for it to giving it back. */
  lock(asked: number, had: number, gave: number, write = false, mm = OUR_MM): this {
    return this.event(FORMATS.start, asked, write, { mm })
      .event(FORMATS.returned, had, write, { mm })
      .event(FORMATS.released, gave, write, { mm });
  }

  lost(count: number): this {
    const record = new DataView(new ArrayBuffer(24));
    record.setBigUint64(16, BigInt(count), true);
    return this.add(PERF_RECORD_LOST, record);
  }

  lostSamples(count: number): this {
    const record = new DataView(new ArrayBuffer(16));
    record.setBigUint64(8, BigInt(count), true);
    return this.add(PERF_RECORD_LOST_SAMPLES, record);
  }

  /** A record of any kind, behind its header. */
  add(type: number, record: DataView, size = record.byteLength): this {
    record.setUint32(0, type, true);
    record.setUint16(6, size, true);
    for (let at = 0; at < record.byteLength; at++) {
      this.data.setUint8((this.head + at) % this.bytes, record.getUint8(at));
    }
    this.head += record.byteLength;
    return this;
  }

  ring(head = this.head): PerfRing {
    return new PerfRing(this.data.buffer as ArrayBuffer, this.tail, head);
  }
}
