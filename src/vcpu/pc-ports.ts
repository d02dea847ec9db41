import { clock_gettime } from '../ffi/libc.js';
import { ScratchPage } from '../ffi/scratch.js';
import type { RunPage } from '../kvm/run-page.js';
import { KVM_EXIT_IO_OUT } from '../uapi/kvm-run.js';
import { timespec } from '../uapi/signal.js';
import { CLOCK_MONOTONIC } from '../uapi/syscall.js';
import type { FirmwareData } from './firmware-ports.js';
import { REPORT_WORDS } from './guest-ports.js';
import {
  CMOS_DATA,
  PM_TIMER_HERTZ,
  PM_TIMER_PORT,
  PM1_CONTROL_PORT,
  PM1_EVENT_PORT,
  PM1_EVENT_PORTS,
  SLEEP_ENABLE,
} from './pc-port-numbers.js';
import type { Ports } from './ports.js';
import type { VcpuEnd } from './run-loop.js';
import { Uart, type UartWiring } from './uart.js';

/** COM1, and the interrupt line that it has on a PC. */
const COM1 = 0x3f8;
export const COM1_INTERRUPT = 4;

const I8042_COMMAND = 0x64;
/** Pulses the reset line: what Linux tries when it reboots. */
const I8042_RESET = 0xfe;
const RESET_CONTROL = 0xcf9;
const RESET_CPU = 0x04;

const POWERED_OFF: VcpuEnd = { reason: 'powered-off' };
const RESET: VcpuEnd = { reason: 'reset' };

/** What the threads of all vCPUs share of a PC's devices. Plain data. */
export interface PcData {
  /** The VM's descriptor. */
  readonly vm: number;
  /** Of a {@link Uart}. */
  readonly uart: SharedArrayBuffer;
  /** The power management timer's zero, in seconds of CLOCK_MONOTONIC. */
  readonly startedSeconds: number;
  /** 32 bits: the power management events that the guest has enabled. None ever happens. */
  readonly events: SharedArrayBuffer;
  /** What the machine's firmware is told; null where it has none. */
  readonly firmware: FirmwareData | null;
}

export function allocatePc(vm: number, uart: Uart, firmware: FirmwareData | null = null): PcData {
  const startedSeconds = Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));
  const events = new SharedArrayBuffer(4);
  return { vm, uart: uart.buffer, startedSeconds, events, firmware };
}

/**
 * The I/O ports of a PC with a serial line, as far as a kernel that boots asks for them. Each vCPU's
 * thread has its own, of which all that has a state is in shared memory. Allocates nothing.
 */
export function createPcPorts(data: PcData, wiring: UartWiring): Ports {
  const com1 = new Uart(wiring, data.uart);
  const events = new Int32Array(data.events);
  const now = new ScratchPage(timespec.size);
  const { address: clock, s32 } = now;
  const SECONDS = timespec.offset.tv_sec >> 2;
  const NANOSECONDS = timespec.offset.tv_nsec >> 2;
  const { startedSeconds } = data;

  /** One clock for all vCPUs: a guest compares what they read. */
  function timer(): number {
    clock_gettime(CLOCK_MONOTONIC, clock);
    const ticks =
      (s32[SECONDS]! - startedSeconds) * PM_TIMER_HERTZ +
      s32[NANOSECONDS]! * (PM_TIMER_HERTZ / 1e9);
    return ticks >>> 0;
  }

  /** Bytes of a device that there is not read as ones. */
  function readPort(port: number, size: number): number {
    if (port >= COM1 && port < COM1 + Uart.PORTS) {
      return com1.read(port - COM1);
    }
    switch (port) {
      case PM_TIMER_PORT:
        return timer();
      case PM1_EVENT_ENABLE_PORT:
        return events[0]!;
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
      case PM1_EVENT_ENABLE_PORT:
        events[0] = value & 0xffff;
        return null;
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
    flush: () => com1.flush(),
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

/** Behind the status, of the same size. */
const PM1_EVENT_ENABLE_PORT = PM1_EVENT_PORT + PM1_EVENT_PORTS / 2;
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
