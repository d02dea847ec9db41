import type { RunPage } from '../kvm/run-page.js';
import { KVM_EXIT_IO_OUT } from '../uapi/kvm-run.js';
import { REPORT_WORDS } from './guest-ports.js';
import {
  PM_TIMER_HERTZ,
  PM_TIMER_PORT,
  PM1_CONTROL_PORT,
  PM1_EVENT_PORT,
  SLEEP_ENABLE,
} from './pc-port-numbers.js';
import type { Ports } from './ports.js';
import type { VcpuEnd } from './run-loop.js';
import { type SetInterruptLine, Uart } from './uart.js';

/** COM1, and the interrupt line that it has on a PC. */
const COM1 = 0x3f8;
export const COM1_INTERRUPT = 4;

const I8042_COMMAND = 0x64;
/** Pulses the reset line: what Linux tries when it reboots. */
const I8042_RESET = 0xfe;
const RESET_CONTROL = 0xcf9;
const RESET_CPU = 0x04;
const CMOS_DATA = 0x71;

const POWERED_OFF: VcpuEnd = { reason: 'powered-off' };
const RESET: VcpuEnd = { reason: 'reset' };

const NEWLINE = 10;
/** A line without an end is passed on in pieces of this many bytes. */
const LINE_BYTES = 256;

/**
 * The I/O ports of a PC with a serial line, as far as a kernel that boots asks for them. All vCPUs'
 * threads have their own, of which the UART's registers are shared.
 *
 * @param write receives the console in pieces, one character for each byte
 * @param setLine of the UART's interrupt
 * @param uart its shared memory
 */
export function createPcPorts(
  write: (text: string) => void,
  setLine: SetInterruptLine,
  uart: SharedArrayBuffer,
): Ports {
  const line = Buffer.alloc(LINE_BYTES);
  let length = 0;
  const flush = (): void => {
    if (length > 0) {
      write(line.toString('latin1', 0, length));
      length = 0;
    }
  };
  const com1 = new Uart(
    (byte) => {
      line[length++] = byte;
      if (byte === NEWLINE || length === LINE_BYTES) {
        flush();
      }
    },
    setLine,
    uart,
  );
  const started = performance.now();

  /** Bytes of a device that there is not read as ones. */
  function readPort(port: number, size: number): number {
    if (port >= COM1 && port < COM1 + Uart.PORTS) {
      const register = port - COM1;
      if (register !== LSR_REGISTER) {
        flush(); // a driver that asks for more than room has written all it had
      }
      return com1.read(register);
    }
    switch (port) {
      case PM_TIMER_PORT:
        return Math.floor(((performance.now() - started) * PM_TIMER_HERTZ) / 1000) >>> 0;
      case CMOS_DATA:
      case I8042_COMMAND: // nothing to be read, room to write
        return 0;
      default:
        return port >= PM1_EVENT_PORT && port < PM1_CONTROL_PORT + 2 ? 0 : ONES[size]!;
    }
  }

  function writePort(port: number, value: number): VcpuEnd | null {
    if (port >= COM1 && port < COM1 + Uart.PORTS) {
      com1.write(port - COM1, value);
      return null;
    }
    switch (port) {
      case PM1_CONTROL_PORT:
        return (value & SLEEP_ENABLE) === 0 ? null : POWERED_OFF;
      case I8042_COMMAND:
        return value === I8042_RESET ? RESET : null;
      case RESET_CONTROL:
        return (value & RESET_CPU) === 0 ? null : RESET;
      default:
        return null;
    }
  }

  return {
    report: new Uint32Array(REPORT_WORDS),
    flush,
    access: (page) => {
      const { ioPort: port, ioSize: size, ioCount: count, ioDataOffset: start } = page;
      const isWrite = page.ioDirection === KVM_EXIT_IO_OUT;
      for (let at = start; at < start + size * count; at += size) {
        if (isWrite) {
          const end = writePort(port, element(page, at, size));
          if (end !== null) {
            return end;
          }
        } else {
          setElement(page, at, size, readPort(port, size));
        }
      }
      return null;
    },
  };
}

const LSR_REGISTER = 5;
const ONES: Readonly<Record<number, number>> = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff };

function element(page: RunPage, at: number, size: number): number {
  return size === 1 ? page.u8[at]! : size === 2 ? page.u16[at >> 1]! : page.u32[at >> 2]!;
}

function setElement(page: RunPage, at: number, size: number, value: number): void {
  if (size === 1) {
    page.u8[at] = value;
  } else if (size === 2) {
    page.u16[at >> 1] = value;
  } else {
    page.u32[at >> 2] = value;
  }
}
