import { readFileSync } from 'node:fs';
import type { Descriptor } from '../ffi/descriptor.js';
import { ioctl } from '../ffi/libc.js';
import {
  PERF_EVENT_IOC_DISABLE,
  PERF_EVENT_IOC_ENABLE,
  PERF_RECORD_SAMPLE,
  PERF_SAMPLE_CALLCHAIN,
  PERF_TYPE_TRACEPOINT,
  perf_event_header,
} from '../uapi/perf.js';
import { MappedRing, ringBytesFor } from './mapped-ring.js';
import type { Measured } from './measured.js';
import { openPerfEvent, readPerfEvent } from './perf-event.js';
import type { PerfRing } from './perf-ring.js';
import { tracepointId } from './tracefs.js';

/**
 * Page faults that give up mmap_lock, and are begun again with it: those that wait for a userfaultfd
 * or for a page, and those that would wait for writeback. The kernel does not count them. But each
 * releases the lock inside `handle_mm_fault`, where one that keeps it does not, and the kernel's call
 * chain at mmap_lock:mmap_lock_released tells. A fault that did with the lock of its VMA is not among
 * them.
 */
export interface RetryTracing {
  /** Of mmap_lock_released. */
  readonly tracepoint: number;
  readonly ringBytes: number;
  /** `handle_mm_fault`: the high word of its addresses, and its low words from … to. */
  readonly function: FunctionRange;
}

export interface FunctionRange {
  readonly high: number;
  readonly from: number;
  readonly to: number;
}

/** `handle_mm_fault` is the seventh to tenth frame; more cost time and room. */
const MOST_FRAMES = 16;
/** Four locks of a fault, each with its frames. */
const BYTES_PER_FAULT = 4 * 8 * (MOST_FRAMES + 4);

/** @param faults that one thread may see */
export function retryTracing(faults: number): RetryTracing | string {
  const id = tracepointId('mmap_lock/mmap_lock_released');
  if (id.value === null) {
    return id.why;
  }
  symbols ??= readSymbols();
  const range = functionRange(symbols, 'handle_mm_fault');
  if (range === null) {
    return '/proc/kallsyms does not give the address of handle_mm_fault (kernel.kptr_restrict)';
  }
  const ringBytes = ringBytesFor(faults, BYTES_PER_FAULT);
  return { tracepoint: id.value, ringBytes, function: range };
}

/** They do not change while the kernel runs, and take a tenth of a second to read. */
let symbols: string | undefined;

function readSymbols(): string {
  try {
    return readFileSync('/proc/kallsyms', 'utf8');
  } catch {
    return ''; // a kernel without: no address is told there either
  }
}

/**
 * Where a function of the kernel is: up to the next symbol.
 *
 * @param text of /proc/kallsyms, which is in the order of addresses
 * @returns null where it is not there, or its address is not told
 */
export function functionRange(text: string, name: string): FunctionRange | null {
  const found = new RegExp(`^([0-9a-f]{8})([0-9a-f]{8}) [tT] ${name}\\n`, 'm').exec(text);
  const [line, high, from] = found ?? [];
  if (found === null || line === undefined || /^0+$/.test(`${high}${from}`)) {
    return null;
  }
  const rest = text.slice(found.index + line.length, found.index + line.length + 4096);
  for (const [, nextHigh, next] of rest.matchAll(/^([0-9a-f]{8})([0-9a-f]{8}) /gm)) {
    if (nextHigh !== high) {
      return null; // across 4 GiB: not the order of addresses
    }
    if (next !== from) {
      return { high: parseInt(high!, 16), from: parseInt(from!, 16), to: parseInt(next!, 16) };
    }
  }
  return null;
}

/**
 * How many samples of PERF_SAMPLE_CALLCHAIN alone have a return address in the function.
 *
 * @throws DefectError for a ring that is damaged
 */
export function countCallsFrom(
  ring: PerfRing,
  { high, from, to }: FunctionRange,
): { readonly samples: number; readonly within: number } {
  let samples = 0;
  let within = 0;
  ring.visit((type, at) => {
    if (type !== PERF_RECORD_SAMPLE) {
      return;
    }
    samples++;
    const count = at + perf_event_header.size;
    const end = count + 8 + ring.u32(count) * 8;
    for (let frame = count + 8; frame < end; frame += 8) {
      const low = ring.u32(frame);
      if (ring.u32(frame + 4) === high && low > from && low <= to) {
        within++;
        return;
      }
    }
  });
  return { samples, within };
}

/** Counts the retries of the calling thread's faults, between `start` and `stop`. */
export class ThreadFaultRetries implements Disposable {
  private constructor(
    readonly event: Descriptor,
    readonly ring: MappedRing,
    private readonly tracing: RetryTracing,
  ) {}

  static open(tracing: RetryTracing): ThreadFaultRetries | string {
    const event = openPerfEvent({
      type: PERF_TYPE_TRACEPOINT,
      config: tracing.tracepoint,
      sampleType: PERF_SAMPLE_CALLCHAIN,
      kernelFrames: MOST_FRAMES,
    });
    if (typeof event === 'string') {
      return event;
    }
    const ring = MappedRing.of(event, tracing.ringBytes);
    if (typeof ring === 'string') {
      event.close();
      return ring;
    }
    return new ThreadFaultRetries(event, ring, tracing);
  }

  start(): void {
    ioctl(this.event.fd, PERF_EVENT_IOC_ENABLE, 0);
  }

  stop(): void {
    ioctl(this.event.fd, PERF_EVENT_IOC_DISABLE, 0);
  }

  /** It must have been stopped. Null where samples are missing. */
  read(): Measured {
    const counted = readPerfEvent(this.event);
    if (counted.value === null) {
      return counted;
    }
    const { samples, within } = countCallsFrom(this.ring.read(), this.tracing.function);
    return samples === counted.value
      ? { value: within }
      : { value: null, why: `${counted.value - samples} samples did not fit into a ring` };
  }

  [Symbol.dispose](): void {
    this.event.close();
    this.ring[Symbol.dispose]();
  }
}
