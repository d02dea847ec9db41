import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { Descriptor } from '../ffi/descriptor.js';
import { errnoName } from '../ffi/errors.js';
import { errno, getrusage, ioctl, read, syscall } from '../ffi/libc.js';
import { scratch } from '../ffi/scratch.js';
import {
  PERF_COUNT_SW_CONTEXT_SWITCHES,
  PERF_EVENT_IOC_DISABLE,
  PERF_EVENT_IOC_ENABLE,
  PERF_FLAG_FD_CLOEXEC,
  PERF_TYPE_SOFTWARE,
  PERF_TYPE_TRACEPOINT,
  perf_event_attr,
  perf_event_attr_bit,
} from '../uapi/perf.js';
import { RUSAGE_THREAD, rusage } from '../uapi/resource.js';
import { SYS_perf_event_open } from '../uapi/syscall.js';
import type { Measured } from './measured.js';
import { tracepointId } from './tracefs.js';

/** What is counted per thread: each event's `perf_event_attr.config`, or why it is not counted. */
export interface PerfEvents {
  /** A tracepoint's id. */
  readonly mmapLock: Measured;
  /** PERF_COUNT_SW_CONTEXT_SWITCHES. */
  readonly contextSwitches: Measured;
}

const MMAP_LOCK_TRACEPOINT = 'mmap_lock/mmap_lock_acquire_returned';

/** All events this host can count; none when they are not wanted. */
export function perfEvents(wanted: boolean): PerfEvents {
  if (!wanted) {
    const none = { value: null, why: 'it was not asked for' };
    return { mmapLock: none, contextSwitches: none };
  }
  return {
    mmapLock: tracepointId(MMAP_LOCK_TRACEPOINT),
    contextSwitches: { value: PERF_COUNT_SW_CONTEXT_SWITCHES },
  };
}

export interface PerfReadings {
  /**
   * Page faults that the kernel served for the thread, those of KVM on the guest's behalf included
   * (ru_minflt and ru_majflt; perf's own page-fault event leaves KVM's out).
   */
  readonly pageFaults: number;
  readonly mmapLockAcquisitions: Measured;
  readonly contextSwitches: Measured;
}

/** Counts kernel events of the calling thread, between `start` and `stop`. */
export class ThreadPerfCounters implements Disposable {
  private readonly mmapLock: Descriptor | string;
  private readonly contextSwitches: Descriptor | string;
  private pageFaultsBefore = 0;

  constructor(events: PerfEvents) {
    this.mmapLock = openEvent(PERF_TYPE_TRACEPOINT, events.mmapLock);
    this.contextSwitches = openEvent(PERF_TYPE_SOFTWARE, events.contextSwitches);
  }

  /** What is open until it is disposed of. */
  get descriptors(): number[] {
    return [this.mmapLock, this.contextSwitches].flatMap((event) =>
      event instanceof Descriptor ? [event.fd] : [],
    );
  }

  start(): void {
    this.pageFaultsBefore = threadPageFaults();
    this.each(PERF_EVENT_IOC_ENABLE);
  }

  stop(): PerfReadings {
    this.each(PERF_EVENT_IOC_DISABLE);
    return {
      pageFaults: threadPageFaults() - this.pageFaultsBefore,
      mmapLockAcquisitions: readEvent(this.mmapLock),
      contextSwitches: readEvent(this.contextSwitches),
    };
  }

  [Symbol.dispose](): void {
    for (const event of [this.mmapLock, this.contextSwitches]) {
      if (event instanceof Descriptor) {
        event.close();
      }
    }
  }

  private each(request: number): void {
    for (const event of [this.mmapLock, this.contextSwitches]) {
      if (event instanceof Descriptor) {
        ioctl(event.fd, request, 0);
      }
    }
  }
}

function threadPageFaults(): number {
  getrusage(RUSAGE_THREAD, scratch.address);
  return scratch.getU64(rusage.offset.ru_minflt) + scratch.getU64(rusage.offset.ru_majflt);
}

function openEvent(type: number, event: Measured): Descriptor | string {
  if (event.value === null) {
    return event.why;
  }
  const { offset, size } = perf_event_attr;
  scratch.clear(0, size);
  scratch.u32[offset.type >> 2] = type;
  scratch.u32[offset.size >> 2] = size;
  scratch.setU64(offset.config, event.value);
  scratch.setU64(offset.flags, 1 << perf_event_attr_bit.disabled);
  const fd = syscall(SYS_perf_event_open, scratch.address, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
  return fd >= 0 ? new Descriptor(fd) : refusal(errno());
}

function readEvent(event: Descriptor | string): Measured {
  if (typeof event === 'string') {
    return { value: null, why: event };
  }
  return read(event.fd, scratch.address, 8) === 8
    ? { value: scratch.getU64(0) }
    : { value: null, why: `a perf counter could not be read: ${errnoName(errno())}` };
}

function refusal(error: number): string {
  const { EACCES, EPERM } = constants.errno;
  if (error === EACCES || error === EPERM) {
    const level = readFileSync('/proc/sys/kernel/perf_event_paranoid', 'utf8').trim();
    return `perf_event_open is not permitted: run as root, or lower kernel.perf_event_paranoid (now ${level})`;
  }
  return `perf_event_open failed: ${errnoName(error)}`;
}
