import { readFileSync } from 'node:fs';
import type { Measured } from './measured.js';

/**
 * Functions of the kernel that a fault may go through, which no tracepoint counts: by a kprobe of
 * perf's own, which nobody else sees and which goes with its descriptor.
 *
 * - `slowGup`: KVM asks for a page and is prepared to sleep
 * - `userfaults`: a page fault comes to a userfaultfd, waiting or not
 */
export const KERNEL_CALLS = {
  slowGup: 'get_user_pages_unlocked',
  userfaults: 'handle_userfault',
} as const;

export type KernelCallName = keyof typeof KERNEL_CALLS;
export const KERNEL_CALL_NAMES = Object.keys(KERNEL_CALLS) as readonly KernelCallName[];

/** `perf_event_attr.type` of kprobes: Linux 4.17 with CONFIG_KPROBE_EVENTS. */
export function kprobeType(): Measured {
  try {
    return {
      value: Number(readFileSync('/sys/bus/event_source/devices/kprobe/type', 'utf8')),
    };
  } catch {
    return { value: null, why: 'this kernel has no kprobes (CONFIG_KPROBE_EVENTS)' };
  }
}
