import type { Measured } from './measured.js';

/** In every kernel with KVM; its module fires it as the guest is left, whoever handles the exit. */
export const KVM_EXIT_TRACEPOINT = 'kvm/kvm_exit';

/**
 * Exits of one vCPU. A software KVM registers the tracepoint (it is in kvm.ko) and never fires it:
 * who has come back from KVM_RUN without one has no figure, rather than 0.
 *
 * @param counted how often the tracepoint fired in its thread
 * @param kvmRuns how often KVM_RUN returned there
 */
export function kvmExitsOf(counted: Measured, kvmRuns: number): Measured {
  return counted.value === 0 && kvmRuns > 0
    ? {
        value: null,
        why: 'KVM_RUN returned without one kvm:kvm_exit: this KVM module does not fire it',
      }
    : counted;
}
