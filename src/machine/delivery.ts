import { UnsupportedError } from '../ffi/errors.js';
import { MEMSLOT_EXITS, type MemslotExit, offeredMemslotExits } from '../kvm/memory-exits.js';
import type { BackingTraits } from '../memory/backing.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { markerFeatures, type Trap, trapMissing, type Userfaultfds } from '../memory/trap.js';
import { Userfaultfd } from '../uffd/userfaultfd.js';
import { whyNoDelivery } from './refusals.js';

/** How a touch of a missing page reaches us. */
export const DELIVERY_NAMES = ['kernel', 'handler', 'exit'] as const;
export type DeliveryName = (typeof DELIVERY_NAMES)[number];

/** What reports a missing page to userspace. */
export type ReportedBy = 'none' | 'message' | 'trap-marker' | 'memory-fault';

/**
 * What ends KVM_RUN on a missing page: a flag of its memslot, on a kernel that has it, or a marker in
 * its page table entry.
 */
export const EXITS_BY = ['missing', 'userfault', 'trap-marker'] as const;
export type ExitBy = MemslotExit | 'trap-marker';

export interface Delivery {
  readonly name: DeliveryName;
  /** Where the kernel annotates exits, `memory-fault` takes the place of `trap-marker` by itself. */
  readonly reportedBy: ReportedBy;
  readonly description: string;
  /** vCPU threads resolve their own faults. */
  readonly trapped: boolean;
  /** Under delivery exit; null otherwise. */
  readonly exitBy: ExitBy | null;
  /**
   * Handler threads read the userfaultfd. With a memslot's flag they do under exit delivery too: KVM's
   * own accesses (string I/O, emulation) do not exit, but sleep.
   */
  readonly handled: boolean;
  /** Every page is put into the page cache before the guest starts. */
  readonly prefilled: boolean;
}

export const DELIVERIES: Readonly<Record<DeliveryName, Delivery>> = {
  kernel: {
    name: 'kernel',
    reportedBy: 'none',
    exitBy: null,
    description:
      'nothing is trapped: pages are filled beforehand and the kernel maps them (the baseline)',
    trapped: false,
    handled: false,
    prefilled: true,
  },
  handler: {
    name: 'handler',
    reportedBy: 'message',
    exitBy: null,
    description: 'the vCPU sleeps in the kernel while a handler thread reads the userfaultfd',
    trapped: false,
    handled: true,
    prefilled: false,
  },
  exit: {
    name: 'exit',
    reportedBy: 'trap-marker',
    exitBy: 'trap-marker',
    description: "KVM_RUN returns and the vCPU's own thread resolves the page",
    trapped: true,
    handled: false,
    prefilled: false,
  },
};

/**
 * Makes guest memory, of which nothing is mapped yet, ready for a delivery.
 *
 * @param shares over how many userfaultfds it is split
 * @returns its userfaultfds, owned by the caller, and how it traps; null where nothing is trapped
 */
export function prepareMemory(
  memory: GuestMemory,
  { trapped, handled, exitBy }: Delivery,
  shares = 1,
): { readonly uffds: Userfaultfds; readonly trap: Trap } | null {
  const marked = exitBy === 'trap-marker';
  return trapped || handled ? trapMissing(memory, marked, shares, trapped) : null;
}

/** Exit delivery by one of them. */
export function exitDelivery(exitBy: ExitBy): Delivery {
  return exitBy === 'trap-marker'
    ? DELIVERIES.exit
    : { ...DELIVERIES.exit, reportedBy: 'memory-fault', exitBy, handled: true };
}

/** Of the memslot that guest memory is in: KVM_MEM_* bits. */
export function memslotFlags({ exitBy }: Delivery): number {
  return exitBy === null || exitBy === 'trap-marker' ? 0 : MEMSLOT_EXITS[exitBy];
}

/** Whether handler threads read the userfaultfd in a run of this kind. */
export function hasHandlers(run: {
  readonly used: DeliveryName;
  readonly exitBy: ExitBy | null;
}): boolean {
  return run.exitBy === null ? DELIVERIES[run.used].handled : exitDelivery(run.exitBy).handled;
}

/** Of `auto`, or of a delivery that was asked for. */
export interface ChosenDelivery {
  readonly delivery: Delivery;
  readonly why: string;
}

const WHY_EXIT: Readonly<Record<ExitBy, string>> = {
  missing:
    'this KVM leaves the guest where fast GUP fails (KVM_MEM_EXIT_ON_MISSING), so neither mmap_lock nor another thread is needed',
  userfault:
    'this KVM leaves the guest in place of a userfault (KVM_MEM_EXIT_ON_USERFAULT), so no thread sleeps',
  'trap-marker':
    'this kernel has UFFDIO_POISON and UFFD_FEATURE_SIGBUS, so a missing page ends KVM_RUN with its address and no thread sleeps',
};

/**
 * The delivery to use for `auto`: the cheapest that is correct on this host, and why.
 *
 * @throws UnsupportedError when userfaultfd cannot be used at all
 */
export function chooseDelivery(backing: BackingTraits): ChosenDelivery {
  const refusal = whyNoDelivery(backing, 'exit');
  if (refusal !== null) {
    return { delivery: DELIVERIES.kernel, why: refusal };
  }
  const [exitBy] = exitsBy(backing);
  return exitBy === undefined
    ? {
        delivery: DELIVERIES.handler,
        why: 'this kernel cannot report a missing page by an exit (UFFDIO_POISON is there from Linux 6.6 on)',
      }
    : { delivery: exitDelivery(exitBy), why: WHY_EXIT[exitBy] };
}

/**
 * What was asked for.
 *
 * @param exitBy for delivery exit; `auto`: the cheapest that this host has
 * @throws UnsupportedError for a way to exit that this host has not
 */
export function askedDelivery(
  name: DeliveryName,
  exitBy: ExitBy | 'auto',
  backing: BackingTraits,
): ChosenDelivery {
  if (name !== 'exit') {
    return { delivery: DELIVERIES[name], why: 'asked for' };
  }
  if (exitBy === 'auto') {
    // Where there is none, registering guest memory says what is missing.
    return { delivery: exitDelivery(exitsBy(backing)[0] ?? 'trap-marker'), why: 'asked for' };
  }
  if (exitBy !== 'trap-marker' && !offeredMemslotExits().includes(exitBy)) {
    throw new UnsupportedError(
      `this KVM has no memslot flag for --exit-by ${exitBy}`,
      'make lab builds and boots a kernel that has.',
    );
  }
  return { delivery: exitDelivery(exitBy), why: 'asked for' };
}

/** Why this host does not tell of missing pages so, or null. */
export function whyNoExit(exitBy: ExitBy, backing: BackingTraits): string | null {
  if (exitBy !== 'trap-marker') {
    return offeredMemslotExits().includes(exitBy)
      ? null
      : 'its memslot flag is no part of this KVM; make lab builds and boots a kernel that has it';
  }
  const wanted = markerFeatures(backing);
  return (Userfaultfd.offered() & wanted) === wanted
    ? null
    : 'this kernel has no UFFDIO_POISON (Linux 6.6)';
}

/** All that this host has, best first. */
function exitsBy(backing: BackingTraits): ExitBy[] {
  return EXITS_BY.filter((exitBy) => whyNoExit(exitBy, backing) === null);
}
