import { ioctl } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import { KVM_IRQ_LINE, kvm_irq_level } from '../uapi/kvm.js';

/** KVM_IRQ_LINE of one line of a VM's interrupt controllers, from any thread. Allocates nothing. */
export function interruptLine(vm: number, irq: number): (level: 0 | 1) => void {
  const page = new ScratchPage(kvm_irq_level.size);
  const { address, u32 } = page;
  u32[kvm_irq_level.offset.irq >> 2] = irq;
  return (level) => {
    u32[kvm_irq_level.offset.level >> 2] = level;
    ioctl(vm, KVM_IRQ_LINE, address);
  };
}
