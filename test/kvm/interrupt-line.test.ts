import t from 'tap';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { interruptLine } from '../../src/kvm/interrupt-line.js';
import { kvmIoctl } from '../../src/kvm/kvm-ioctl.js';
import { KvmSystem } from '../../src/kvm/kvm-system.js';
import type { Vm } from '../../src/kvm/vm.js';
import { kvmSkip } from '../support/host.js';

/** _IOWR(KVMIO, 0x62, struct kvm_irqchip): { u32 chip_id, pad; u8 state[512] } */
const KVM_GET_IRQCHIP = 0xc208ae62;
const IRQCHIP_BYTES = 520;
/** The first 8259; its state begins with last_irr and irr. */
const PIC_MASTER = 0;

/** Lines that are up, and interrupts that wait, as bits. */
function firstPic(vm: Vm): { lines: number; requests: number } {
  const page = new ScratchPage(IRQCHIP_BYTES);
  page.u32[0] = PIC_MASTER;
  kvmIoctl('KVM_GET_IRQCHIP', vm.fd, KVM_GET_IRQCHIP, page.address);
  return { lines: page.u8[8]!, requests: page.u8[9]! };
}

t.test('a line goes up and down', { skip: kvmSkip(), timeout: 20_000 }, async (t) => {
  using system = KvmSystem.open();
  using vm = system.createVm();
  vm.createInterruptControllers();
  const four = interruptLine(vm.fd, 4);
  const five = interruptLine(vm.fd, 5);
  const before = firstPic(vm);
  t.equal(before.lines & 0x30, 0);
  four(1);
  t.equal(firstPic(vm).lines & 0x30, 0x10);
  t.equal(firstPic(vm).requests & 0x30, 0x10);
  five(1);
  t.equal(firstPic(vm).lines & 0x30, 0x30, 'each has its own');
  four(0);
  t.equal(firstPic(vm).lines & 0x30, 0x20);
  five(0);
  t.equal(firstPic(vm).lines & 0x30, 0);
});
