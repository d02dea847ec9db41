import type { Backing } from '../memory/backing.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../uapi/userfaultfd.js';
import { Userfaultfd } from '../uffd/userfaultfd.js';

/** How a touch of a missing page reaches us. */
export type DeliveryName = 'kernel' | 'handler' | 'exit';
export const DELIVERY_NAMES: readonly DeliveryName[] = ['kernel', 'handler', 'exit'];

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
  /**
   * Makes guest memory ready before anything is resident.
   *
   * @returns the userfaultfd it is registered with, owned by the caller, or null
   */
  prepare(memory: GuestMemory): Userfaultfd | null;
}

/** Features of the userfaultfd that exit delivery needs. SIGBUS makes it fail closed: a page that
 * lost its marker is EFAULT, not a zero page and not a hang. */
function exitFeatures(backing: Backing): number {
  return backing.uffdFeatures | UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS;
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
    prepare: () => null,
  },
  handler: {
    name: 'handler',
    reportedBy: 'message',
    description: 'the vCPU sleeps in the kernel while a handler thread reads the userfaultfd',
    trapped: false,
    handled: true,
    prefilled: false,
    prepare: (memory) => register(memory, memory.backing.uffdFeatures),
  },
  exit: {
    name: 'exit',
    reportedBy: 'trap-marker',
    description: "KVM_RUN returns and the vCPU's own thread resolves the page",
    trapped: true,
    handled: false,
    prefilled: false,
    prepare: (memory) => {
      const uffd = register(memory, exitFeatures(memory.backing));
      try {
        uffd.poisonRange(memory.layout.guestAddress, memory.layout.bytes);
        return uffd;
      } catch (error) {
        uffd.close();
        throw error;
      }
    },
  },
};

function register(memory: GuestMemory, features: number): Userfaultfd {
  const uffd = Userfaultfd.open(features);
  try {
    const { guestAddress, bytes } = memory.layout;
    uffd.register(guestAddress, bytes, memory.backing.uffdModes);
    return uffd;
  } catch (error) {
    uffd.close();
    throw error;
  }
}

/**
 * The delivery to use for `auto`: the cheapest that is correct on this host, and why.
 *
 * @throws UnsupportedError when userfaultfd cannot be used at all
 */
export function chooseDelivery(backing: Backing): { delivery: Delivery; why: string } {
  using uffd = Userfaultfd.open();
  const wanted = exitFeatures(backing);
  if ((uffd.offered & wanted) === wanted) {
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
