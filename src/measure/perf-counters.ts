import { Descriptor } from '../ffi/descriptor.js';
import { getrusage, ioctl } from '../ffi/libc.js';
import { scratch } from '../ffi/scratch.js';
import {
  PERF_COUNT_SW_CONTEXT_SWITCHES,
  PERF_EVENT_IOC_DISABLE,
  PERF_EVENT_IOC_ENABLE,
  PERF_TYPE_SOFTWARE,
  PERF_TYPE_TRACEPOINT,
} from '../uapi/perf.js';
import { RUSAGE_THREAD, rusage } from '../uapi/resource.js';
import { type RetryTracing, retryTracing, ThreadFaultRetries } from './fault-retries.js';
import {
  KERNEL_CALL_NAMES,
  KERNEL_CALLS,
  type KernelCallName,
  kprobeType,
} from './kernel-calls.js';
import { KVM_EXIT_TRACEPOINT } from './kvm-exits.js';
import type { MappedRing } from './mapped-ring.js';
import type { Measured } from './measured.js';
import { openPerfEvent, readPerfEvent } from './perf-event.js';
import {
  type LockTraceReading,
  type LockTracing,
  lockTracing,
  ThreadLockTrace,
} from './thread-lock-trace.js';
import { tracepointId } from './tracefs.js';

/** What is counted per thread: each event's `perf_event_attr.config`, or why it is not counted. */
export interface PerfEvents {
  /** A tracepoint's id. */
  readonly mmapLock: Measured;
  /** PERF_COUNT_SW_CONTEXT_SWITCHES. */
  readonly contextSwitches: Measured;
  /** A tracepoint's id. */
  readonly kvmExits: Measured;
  /** `perf_event_attr.type` of kprobes. */
  readonly calls: Measured;
  /** How mmap_lock is traced as well, or why it is not. */
  readonly trace: LockTracing | string;
  /** How faults that give up mmap_lock are counted, or why they are not. */
  readonly retries: RetryTracing | string;
}

const MMAP_LOCK_TRACEPOINT = 'mmap_lock/mmap_lock_acquire_returned';
const NOT_ASKED_FOR = 'it was not asked for';

/**
 * All events this host can count; none when they are not wanted.
 *
 * @param tracing what besides: waits for and holds of mmap_lock, and faults that give it up, in threads
 * that may see so many faults; calls of functions that no tracepoint tells of
 */
export function perfEvents(
  wanted: boolean,
  tracing: {
    readonly locks?: boolean;
    readonly retries?: boolean;
    readonly calls?: boolean;
    readonly faults: number;
  } = { faults: 0 },
): PerfEvents {
  if (!wanted) {
    const none = { value: null, why: NOT_ASKED_FOR };
    return {
      mmapLock: none,
      contextSwitches: none,
      kvmExits: none,
      calls: none,
      trace: NOT_ASKED_FOR,
      retries: NOT_ASKED_FOR,
    };
  }
  return {
    mmapLock: tracepointId(MMAP_LOCK_TRACEPOINT),
    contextSwitches: { value: PERF_COUNT_SW_CONTEXT_SWITCHES },
    kvmExits: tracepointId(KVM_EXIT_TRACEPOINT),
    calls: tracing.calls ? kprobeType() : { value: null, why: NOT_ASKED_FOR },
    trace: tracing.locks ? lockTracing(tracing.faults) : NOT_ASKED_FOR,
    retries: tracing.retries ? retryTracing(tracing.faults) : NOT_ASKED_FOR,
  };
}

export interface PerfReadings {
  /**
   * Page faults that the kernel served for the thread, those of KVM on the guest's behalf included
   * (ru_minflt and ru_majflt; perf's own page-fault event leaves KVM's out).
   */
  readonly pageFaults: number;
  /** In both modes, trylocks that failed included. */
  readonly mmapLockAcquisitions: Measured;
  /** Of them, those for write. */
  readonly mmapLockWrites: Measured;
  /** Of them, trylocks that failed. */
  readonly mmapLockFailed: Measured;
  readonly contextSwitches: Measured;
  /** How often kvm:kvm_exit fired: 0 also where the KVM module has no such exits (`kvmExitsOf`). */
  readonly kvmExits: Measured;
  readonly calls: Readonly<Record<KernelCallName, Measured>>;
}

/**
 * Counts kernel events of the calling thread, between `start` and `stop`. What counts and traces
 * mmap_lock starts and stops at once, as one group, so that counts and trace must agree.
 */
export class ThreadPerfCounters implements Disposable {
  private readonly mmapLock: Descriptor | string;
  private readonly writes: Descriptor | string;
  private readonly failed: Descriptor | string;
  private readonly contextSwitches: Descriptor | string;
  private readonly kvmExits: Descriptor | string;
  private readonly calls: Readonly<Record<KernelCallName, Descriptor | string>>;
  private readonly trace: ThreadLockTrace | string;
  private readonly retries: ThreadFaultRetries | string;
  private pageFaultsBefore = 0;

  constructor(events: PerfEvents) {
    const locks = (filter: string | null, leader: Descriptor | null): Descriptor | string =>
      events.mmapLock.value === null
        ? events.mmapLock.why
        : openPerfEvent({
            type: PERF_TYPE_TRACEPOINT,
            config: events.mmapLock.value,
            leader,
            ...(filter !== null && { filter }),
          });
    const { contextSwitches, kvmExits, trace, retries } = events;
    this.mmapLock = locks(null, null);
    const leader = this.mmapLock;
    this.writes = typeof leader === 'string' ? leader : locks('write==1 && success==1', leader);
    this.failed = typeof leader === 'string' ? leader : locks('success==0', leader);
    this.trace =
      typeof leader === 'string' || typeof trace === 'string'
        ? `${typeof trace === 'string' ? trace : leader}`
        : ThreadLockTrace.open(trace, leader);
    this.retries = typeof retries === 'string' ? retries : ThreadFaultRetries.open(retries);
    this.contextSwitches =
      contextSwitches.value === null
        ? contextSwitches.why
        : openPerfEvent({ type: PERF_TYPE_SOFTWARE, config: contextSwitches.value });
    this.kvmExits =
      kvmExits.value === null
        ? kvmExits.why
        : openPerfEvent({ type: PERF_TYPE_TRACEPOINT, config: kvmExits.value });
    const { calls } = events;
    this.calls = eachCall((name) =>
      calls.value === null
        ? calls.why
        : openPerfEvent({ type: calls.value, config: 0, function: KERNEL_CALLS[name] }),
    );
  }

  /** What is open until it is disposed of. */
  get descriptors(): number[] {
    const traced = typeof this.trace === 'string' ? [] : this.trace.descriptors;
    const retries = typeof this.retries === 'string' ? [] : [this.retries.event.fd];
    return [...this.counters.map(({ fd }) => fd), ...traced, ...retries];
  }

  /** What is mapped until then. */
  get mappings(): MappedRing['extent'][] {
    return [this.trace, this.retries].flatMap((traced) =>
      typeof traced === 'string' ? [] : [traced.ring.extent],
    );
  }

  start(): void {
    this.pageFaultsBefore = threadPageFaults();
    this.each(PERF_EVENT_IOC_ENABLE);
    if (typeof this.retries !== 'string') {
      this.retries.start();
    }
  }

  stop(): PerfReadings {
    if (typeof this.retries !== 'string') {
      this.retries.stop();
    }
    this.each(PERF_EVENT_IOC_DISABLE);
    return {
      pageFaults: threadPageFaults() - this.pageFaultsBefore,
      mmapLockAcquisitions: readPerfEvent(this.mmapLock),
      mmapLockWrites: readPerfEvent(this.writes),
      mmapLockFailed: readPerfEvent(this.failed),
      contextSwitches: readPerfEvent(this.contextSwitches),
      kvmExits: readPerfEvent(this.kvmExits),
      calls: eachCall((name) => readPerfEvent(this.calls[name])),
    };
  }

  /** Page faults that gave up mmap_lock between `start` and `stop`. Likewise: */
  faultRetries(): Measured {
    return typeof this.retries === 'string'
      ? { value: null, why: this.retries }
      : this.retries.read();
  }

  /** What was traced between `start` and `stop`. Reading it takes a while, and memory. */
  lockTrace(): LockTraceReading {
    return typeof this.trace === 'string' ? { why: this.trace } : this.trace.read();
  }

  [Symbol.dispose](): void {
    for (const event of this.counters) {
      event.close();
    }
    for (const traced of [this.trace, this.retries]) {
      if (typeof traced !== 'string') {
        traced[Symbol.dispose]();
      }
    }
  }

  /** Those that are open; the others of a group follow their leader. */
  private get counters(): readonly Descriptor[] {
    const locks = [this.mmapLock, this.writes, this.failed];
    return [...locks, ...this.leaders].filter((event) => event instanceof Descriptor);
  }

  /** Besides mmap_lock's, whose group `trace` belongs to. */
  private get leaders(): readonly (Descriptor | string)[] {
    return [this.contextSwitches, this.kvmExits, ...Object.values(this.calls)];
  }

  private each(request: number): void {
    for (const event of [this.mmapLock, ...this.leaders]) {
      if (event instanceof Descriptor) {
        ioctl(event.fd, request, 0);
      }
    }
  }
}

function eachCall<Result>(
  make: (name: KernelCallName) => Result,
): Readonly<Record<KernelCallName, Result>> {
  return Object.fromEntries(KERNEL_CALL_NAMES.map((name) => [name, make(name)])) as Record<
    KernelCallName,
    Result
  >;
}

function threadPageFaults(): number {
  getrusage(RUSAGE_THREAD, scratch.address);
  return scratch.getU64(rusage.offset.ru_minflt) + scratch.getU64(rusage.offset.ru_majflt);
}
