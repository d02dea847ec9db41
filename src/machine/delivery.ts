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

export interface Delivery {
  readonly name: DeliveryName;
  /** Where the kernel annotates exits, `memory-fault` takes the place of `trap-marker` by itself. */
  readonly reportedBy: ReportedBy;
  readonly description: string;
  /** vCPU threads resolve their own faults. */
  readonly trapped: boolean;
  /** Handler threads read the userfaultfd. */
  readonly handled: boolean;
  /** Every page is put into the page cache before the guest starts. */
  readonly prefilled: boolean;
}

export const DELIVERIES: Readonly<Record<DeliveryName, Delivery>> = {
  kernel: {
    name: 'kernel',
    reportedBy: 'none',
    description:
      'nothing is trapped: pages are filled beforehand and the kernel maps them (the baseline)',
    trapped: false,
    handled: false,
    prefilled: true,
  },
  handler: {
    name: 'handler',
    reportedBy: 'message',
    description: 'the vCPU sleeps in the kernel while a handler thread reads the userfaultfd',
    trapped: false,
    handled: true,
    prefilled: false,
  },
  exit: {
    name: 'exit',
    reportedBy: 'trap-marker',
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
  { trapped, handled }: Delivery,
  shares = 1,
): { readonly uffds: Userfaultfds; readonly trap: Trap } | null {
  return trapped || handled ? trapMissing(memory, trapped, shares) : null;
}

/**
 * The delivery to use for `auto`: the cheapest that is correct on this host, and why.
 *
 * @throws UnsupportedError when userfaultfd cannot be used at all
 */
export function chooseDelivery(backing: BackingTraits): { delivery: Delivery; why: string } {
  const refusal = whyNoDelivery(backing, 'exit');
  if (refusal !== null) {
    return { delivery: DELIVERIES.kernel, why: refusal };
  }
  const wanted = markerFeatures(backing);
  if ((Userfaultfd.offered() & wanted) === wanted) {
    return {
      delivery: DELIVERIES.exit,
      why: 'this kernel has UFFDIO_POISON and UFFD_FEATURE_SIGBUS, so a missing page ends KVM_RUN with its address and no thread sleeps',
    };
  }
  return {
    delivery: DELIVERIES.handler,
    why: 'this kernel cannot report a missing page by an exit (UFFDIO_POISON is there from Linux 6.6 on)',
  };
}
