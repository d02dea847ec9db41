import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { Descriptor } from '../ffi/descriptor.js';
import { errnoName } from '../ffi/errors.js';
import { errno, ioctl, read, syscall } from '../ffi/libc.js';
import { scratch } from '../ffi/scratch.js';
import {
  PERF_EVENT_IOC_SET_FILTER,
  PERF_FLAG_FD_CLOEXEC,
  perf_event_attr,
  perf_event_attr_bit,
} from '../uapi/perf.js';
import { CLOCK_MONOTONIC, SYS_perf_event_open } from '../uapi/syscall.js';
import type { Measured } from './measured.js';

/** Offset in the scratch page, behind the attributes. */
const TEXT = 1024;

/** A perf event of the calling thread. */
export interface PerfEventSpec {
  /** PERF_TYPE_* */
  readonly type: number;
  readonly config: number;
  /** Of a kprobe: the kernel's function whose calls are counted. */
  readonly function?: string;
  /** Of a tracepoint: on its fields, as `write==1 && success==1`. */
  readonly filter?: string;
  /** PERF_SAMPLE_* bits of what is written to a ring at every event; it is only counted without. */
  readonly sampleType?: number;
  /** With PERF_SAMPLE_CALLCHAIN: how many frames of the kernel at most; none of userspace. */
  readonly kernelFrames?: number;
  /** Counts while this one does: they are started and stopped together. */
  readonly leader?: Descriptor | null;
}

/** Opens it, not counting yet. A string says why that is not possible. */
export function openPerfEvent(spec: PerfEventSpec): Descriptor | string {
  const { offset, size } = perf_event_attr;
  const { disabled, exclude_callchain_user, use_clockid } = perf_event_attr_bit;
  const {
    type,
    config,
    function: name,
    filter,
    sampleType = 0,
    kernelFrames = 0,
    leader = null,
  } = spec;
  scratch.clear(0, size);
  scratch.u32[offset.type >> 2] = type;
  scratch.u32[offset.size >> 2] = size;
  scratch.setU64(offset.config, config);
  const flags = leader === null ? 1 << disabled : 0;
  // The scheduler's clock, the default, is one for each CPU. A group has one clock, counters included.
  scratch.setU64(offset.flags, flags | (1 << use_clockid) | (1 << exclude_callchain_user));
  scratch.u16[offset.sample_max_stack >> 1] = kernelFrames;
  scratch.s32[offset.clockid >> 2] = CLOCK_MONOTONIC;
  if (sampleType !== 0) {
    scratch.setU64(offset.sample_period, 1);
    scratch.setU64(offset.sample_type, sampleType);
  }
  if (name !== undefined) {
    scratch.setU64(offset.config1, scratch.address + TEXT);
    setText(name);
  }
  const group = leader?.fd ?? -1;
  const fd = syscall(SYS_perf_event_open, scratch.address, 0, -1, group, PERF_FLAG_FD_CLOEXEC);
  if (fd < 0) {
    return refusal(errno());
  }
  const event = new Descriptor(fd);
  if (filter !== undefined && !setFilter(event, filter)) {
    const why = `this kernel does not filter a tracepoint by ${filter}: ${errnoName(errno())}`;
    event.close();
    return why;
  }
  return event;
}

function setFilter(event: Descriptor, filter: string): boolean {
  setText(filter);
  return ioctl(event.fd, PERF_EVENT_IOC_SET_FILTER, scratch.address + TEXT) === 0;
}

/** Puts a string where the kernel is told to read one. */
function setText(text: string): void {
  const { written } = new TextEncoder().encodeInto(text, scratch.u8.subarray(TEXT));
  scratch.u8[TEXT + written] = 0;
}

/** How often it has happened. */
export function readPerfEvent(event: Descriptor | string): Measured {
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
