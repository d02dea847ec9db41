import { type MemslotExit, offeredMemslotExits } from '../../src/kvm/memory-exits.js';
import { kvmSkip } from './host.js';

/** Why this KVM does not leave the guest so, or false. */
export function memslotExitSkip(exit: MemslotExit): string | false {
  return (
    kvmSkip() ||
    (offeredMemslotExits().includes(exit)
      ? false
      : `needs exit on ${exit}, which the kernel of make lab has`)
  );
}
