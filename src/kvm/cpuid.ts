import { ScratchPage } from '../ffi/scratch.js';
import { kvm_cpuid_entry2, kvm_cpuid2 } from '../uapi/kvm-x86.js';

const { offset, size } = kvm_cpuid_entry2;

/** Leaf 1, ECX. */
const HYPERVISOR = 2 ** 31;
const TSC_DEADLINE_TIMER = 2 ** 24;

/**
 * CPUID of one vCPU of a PC: its APIC id in every place where it is told, that there is a hypervisor,
 * and the TSC deadline timer, which KVM has with interrupt controllers in the kernel.
 *
 * @param supported what KVM can do; it is not changed
 */
export function cpuidOfPc(
  supported: ScratchPage,
  apicId: number,
  vcpus: number,
  hasDeadlineTimer: boolean,
): ScratchPage {
  const entries = supported.u32[kvm_cpuid2.offset.nent >> 2]!;
  const cpuid = new ScratchPage(kvm_cpuid2.size + entries * size);
  cpuid.u8.set(supported.u8.subarray(0, kvm_cpuid2.size + entries * size));
  for (let entry = 0; entry < entries; entry++) {
    const at = kvm_cpuid2.size + entry * size;
    const word = (field: 'function' | 'index' | 'ebx' | 'ecx' | 'edx'): number =>
      (at + offset[field]) >> 2;
    switch (cpuid.u32[word('function')]) {
      case 1: {
        const rest = cpuid.u32[word('ebx')]! & 0xffff;
        cpuid.u32[word('ebx')] = (apicId * 2 ** 24 + vcpus * 2 ** 16 + rest) >>> 0;
        const deadline = hasDeadlineTimer ? TSC_DEADLINE_TIMER : 0;
        cpuid.u32[word('ecx')] = (cpuid.u32[word('ecx')]! | HYPERVISOR | deadline) >>> 0;
        break;
      }
      case 0xb:
      case 0x1f:
        cpuid.u32[word('edx')] = apicId;
        break;
    }
  }
  return cpuid;
}
