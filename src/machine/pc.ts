import { interruptLine } from '../kvm/interrupt-line.js';
import type { Vm } from '../kvm/vm.js';
import type { FirmwareData } from '../vcpu/firmware-ports.js';
import { COM1_INTERRUPT } from '../vcpu/pc-ports.js';
import { Uart } from '../vcpu/uart.js';
import type { PcData } from '../vcpu/vcpu-worker.js';

/** The devices of a PC as far as a Linux kernel or firmware needs them, seen from the main thread. */
export class Pc {
  readonly forVcpus: PcData;
  private readonly uart: Uart;

  /**
   * @param vm has no vCPUs yet
   * @param firmware what it is told of the machine; null where there is none
   */
  constructor(vm: Vm, firmware: Omit<FirmwareData, 'cmosIndex'> | null = null) {
    vm.createInterruptControllers();
    this.uart = new Uart(() => undefined, interruptLine(vm.fd, COM1_INTERRUPT));
    this.forVcpus = {
      vm: vm.fd,
      uart: this.uart.buffer,
      firmware: firmware && {
        memoryBytes: firmware.memoryBytes,
        vcpus: firmware.vcpus,
        cmosIndex: new SharedArrayBuffer(4),
      },
    };
  }

  /** Gives the guest input. Returns how many bytes it had room for. */
  type(bytes: Uint8Array): number {
    return this.uart.receive(bytes);
  }
}
