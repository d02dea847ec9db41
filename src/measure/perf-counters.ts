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

/** A figure, or the reason why this host does not give it. */
export type Measured = { readonly value: number } | { readonly value: null; readonly why: string };

/** The events counted per thread; `mmapLock` is the tracepoint's id, or why there is none. */
export interface PerfEvents {
  readonly mmapLock: Measured;
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
    this.mmapLock =
      events.mmapLock.value === null
        ? events.mmapLock.why
        : openEvent(PERF_TYPE_TRACEPOINT, events.mmapLock.value);
    this.contextSwitches = openEvent(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES);
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

/** The sum over threads: null as soon as one thread has no figure. */
export function sumMeasured(figures: readonly Measured[]): Measured {
  let sum = 0;
  for (const figure of figures) {
    if (figure.value === null) {
      return figure;
    }
    sum += figure.value;
  }
  return { value: sum };
}

function threadPageFaults(): number {
  getrusage(RUSAGE_THREAD, scratch.address);
  return scratch.getU64(rusage.offset.ru_minflt) + scratch.getU64(rusage.offset.ru_majflt);
}

function openEvent(type: number, config: number): Descriptor | string {
  const { offset, size } = perf_event_attr;
  scratch.clear(0, size);
  scratch.u32[offset.type >> 2] = type;
  scratch.u32[offset.size >> 2] = size;
  scratch.setU64(offset.config, config);
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
