import { constants } from 'node:os';
import { DefectError } from '../ffi/errors.js';
import { errno, poll, read } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { FAULTS, FIRST_OUTCOME, SYSCALLS } from '../measure/counters.js';
import type { GuestMemoryLayout } from '../memory/guest-memory.js';
import { POLLIN, pollfd } from '../uapi/fcntl.js';
import {
  UFFD_EVENT_PAGEFAULT,
  UFFD_PAGEFAULT_FLAG_WP,
  uffd_msg,
  uffd_msg_pagefault,
} from '../uapi/userfaultfd.js';
import type { FaultTiming } from './fault-timing.js';
import { MEMORY_ERROR, RETRIED } from './outcome.js';
import type { Resolver } from './resolver.js';
import type { WorkerControl } from './worker-control.js';

/** Messages taken by one read. */
const BATCH = 16;
/** Where they are read to: behind the pollfds. */
const MESSAGES = 1024;

export interface HandlerLoopOptions {
  readonly memory: GuestMemoryLayout;
  /** The userfaultfds that it reads, 64 at most. */
  readonly uffds: readonly number[];
  /** An eventfd; readable means stop. */
  readonly stopEvent: number;
  readonly resolver: Resolver;
  /**
   * Makes whoever touches a unit that failed get a memory error (UFFDIO_POISON): the vCPU's own
   * thread then deals with it. False where the kernel cannot.
   */
  readonly poison: (unit: number) => boolean;
  readonly control: WorkerControl;
  readonly counters: Float64Array;
  readonly timing: FaultTiming;
}

export type HandlerEnd =
  | { readonly reason: 'stopped' }
  | { readonly reason: 'memory-error'; readonly failure: Resolver['failure'] };

/**
 * Handler delivery: vCPUs sleep in the kernel until a message of theirs has been resolved. Per
 * fault, when they come one at a time: poll, read, UFFDIO_CONTINUE. Allocates nothing.
 */
export function createHandlerLoop(options: HandlerLoopOptions): () => HandlerEnd {
  const { stopEvent, resolver, poison, control, counters, timing } = options;
  const { guestAddress, unitBytes } = options.memory;
  const page = new ScratchPage();
  const { u8, u16, u32, s32 } = page;
  const pollfds = page.address;
  const messages = page.address + MESSAGES;
  const uffds = Int32Array.from(options.uffds);
  const count = uffds.length;
  [...uffds, stopEvent].forEach((fd, index) => {
    s32[(index * pollfd.size) >> 2] = fd;
    u16[(index * pollfd.size + pollfd.offset.events) >> 1] = POLLIN;
  });
  const STOP_EVENTS = (count * pollfd.size + pollfd.offset.revents) >> 1;

  function handle(message: number): boolean {
    if (u8[message] !== UFFD_EVENT_PAGEFAULT) {
      throw new DefectError(`userfaultfd sent event ${u8[message]}, which was not asked for`);
    }
    if ((u32[(message + uffd_msg_pagefault.offset.flags) >> 2]! & UFFD_PAGEFAULT_FLAG_WP) !== 0) {
      // Its page is there: woken, the writer would ask again, for ever.
      throw new DefectError('the guest wrote to a page that somebody has write-protected');
    }
    const word = (message + uffd_msg_pagefault.offset.address) >> 2;
    const offset = u32[word]! + u32[word + 1]! * 0x1_0000_0000 - guestAddress;
    counters[FAULTS]! += 1;
    const unit = (offset / unitBytes) | 0;
    let outcome = resolver.resolve(unit);
    counters[FIRST_OUTCOME + outcome]! += 1;
    // The message is used up: unlike a vCPU, a sleeper does not ask again.
    while (outcome === RETRIED && !control.stopping) {
      outcome = resolver.resolve(unit);
      counters[FIRST_OUTCOME + outcome]! += 1;
    }
    return outcome !== MEMORY_ERROR || poison(unit);
  }

  /** Takes the messages of one userfaultfd. False: a memory error that cannot be passed on. */
  function serve(uffd: number): boolean {
    counters[SYSCALLS]! += 1;
    const bytes = read(uffd, messages, BATCH * uffd_msg.size);
    if (bytes < 0) {
      if (errno() === constants.errno.EAGAIN) {
        return true; // another handler took it
      }
      throw new DefectError(`read of a userfaultfd failed (errno ${errno()})`);
    }
    for (let message = MESSAGES; message < MESSAGES + bytes; message += uffd_msg.size) {
      timing.arrived();
      timing.identified();
      if (!handle(message)) {
        return false;
      }
      timing.resolved();
    }
    return true;
  }

  return () => {
    // Its descriptors may be closed by now. Once vCPUs run, the event alone ends it, which comes after
    // the last of them has stopped: one whose access KVM emulates sleeps here whatever signals it gets,
    // and a handler that is told to stop before its thread was first scheduled would leave it there.
    if (control.cancelled) {
      return { reason: 'stopped' };
    }
    for (;;) {
      counters[SYSCALLS]! += 1;
      if (poll(pollfds, count + 1, -1) < 0) {
        if (errno() === constants.errno.EINTR) {
          continue;
        }
        throw new DefectError(`poll of a userfaultfd failed (errno ${errno()})`);
      }
      if (u16[STOP_EVENTS] !== 0) {
        return { reason: 'stopped' };
      }
      for (let index = 0; index < count; index++) {
        const events = u16[(index * pollfd.size + pollfd.offset.revents) >> 1];
        if (events === 0) {
          continue;
        }
        if (events !== POLLIN) {
          throw new DefectError('a userfaultfd was closed while its handler ran');
        }
        if (!serve(uffds[index]!)) {
          return { reason: 'memory-error', failure: resolver.failure };
        }
      }
    }
  };
}
