import { interruptLine } from '../kvm/interrupt-line.js';
import type { Vm } from '../kvm/vm.js';
import { allocateFirmware } from '../vcpu/firmware-ports.js';
import { allocatePc, COM1_INTERRUPT, type PcData } from '../vcpu/pc-ports.js';
import { Uart } from '../vcpu/uart.js';

/** Taken from the console at a time. */
const CHUNK_BYTES = 65536;
/**
 * Once there was output, the main thread looks for more by itself, this often, and vCPUs need not tell
 * it: a guest that boots prints hundreds of lines, and a message for each would cost it more than the line.
 */
const LOOK_MILLISECONDS = 30;

/** The devices of a PC as far as a Linux kernel or firmware needs them, seen from the main thread. */
export class Pc {
  readonly forVcpus: PcData;
  private readonly uart: Uart;
  private reader: ConsoleReader = () => undefined;
  private reading = false;
  private look: NodeJS.Timeout | undefined;
  private ended = false;
  /** What waits for room in the UART. */
  private hasRoom: (() => void) | null = null;

  /**
   * @param vm has no vCPUs yet
   * @param firmware what it is told of the machine; null where there is none
   */
  constructor(
    vm: Vm,
    firmware: { readonly memoryBytes: number; readonly vcpus: number } | null = null,
  ) {
    vm.createInterruptControllers();
    this.uart = new Uart({
      setLine: interruptLine(vm.fd, COM1_INTERRUPT),
      tell: () => undefined,
      stopping: () => true,
    });
    this.forVcpus = allocatePc(vm.fd, this.uart, firmware && allocateFirmware(firmware));
  }

  /** Who receives the console from now on. */
  readBy(reader: ConsoleReader): void {
    this.reader = reader;
  }

  /** A vCPU says that there is output, or room for input. */
  told(what: 'output' | 'room', vcpu: number): void {
    if (what === 'room') {
      this.hasRoom?.();
    } else {
      void this.pass(vcpu);
    }
  }

  /**
   * Gives the guest input. Fulfilled when its UART had room for all of it, or the guest has ended:
   * nothing is asked for again and again meanwhile.
   */
  async type(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length && !this.ended; ) {
      const room = new Promise<void>((resolve) => {
        this.hasRoom = resolve; // before we ask: the answer can come at once
      });
      done += this.uart.receive(bytes.subarray(done));
      if (done < bytes.length) {
        await room;
      }
    }
    this.hasRoom = null;
  }

  /** The guest has ended, or is told to: passes on what its console still has. */
  end(): void {
    this.ended = true;
    clearTimeout(this.look);
    this.hasRoom?.();
    for (let bytes = this.uart.take(CHUNK_BYTES); bytes.length > 0; ) {
      void this.reader(textOf(bytes), 0);
      bytes = this.uart.take(CHUNK_BYTES);
    }
  }

  /** Passes output on, one piece after the other, as fast as it is read. */
  private async pass(vcpu: number): Promise<void> {
    if (this.reading) {
      return;
    }
    this.reading = true;
    clearTimeout(this.look);
    let bytes = this.uart.take(CHUNK_BYTES);
    const had = bytes.length > 0;
    for (; bytes.length > 0 && !this.ended; bytes = this.uart.take(CHUNK_BYTES)) {
      await this.reader(textOf(bytes), vcpu);
      if (bytes.length < CHUNK_BYTES) {
        break;
      }
    }
    this.reading = false;
    if (had && !this.ended) {
      this.look = setTimeout(() => void this.pass(vcpu), LOOK_MILLISECONDS);
    }
  }
}

/** Does not throw. The guest waits with more while what it returns is not fulfilled. */
export type ConsoleReader = (text: string, vcpu: number) => void | Promise<void>;

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}
