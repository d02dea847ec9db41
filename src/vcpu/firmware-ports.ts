import type { RunPage } from '../kvm/run-page.js';
import { KVM_EXIT_IO_OUT } from '../uapi/kvm-run.js';
import { createConsoleLine } from './console-line.js';
import { CMOS_DATA } from './pc-port-numbers.js';
import type { Ports } from './ports.js';

/** What is written there is firmware's own log. Read, it says that somebody listens. */
export const DEBUG_PORT = 0x402;
const DEBUG_PORT_LISTENS = 0xe9;

export const CMOS_INDEX = 0x70;
/** The highest bit of the index masks NMIs. */
const CMOS_INDEX_MASK = 0x7f;

/** Registers of the CMOS memory that tell firmware what the machine has; all others are 0. */
const CMOS_ABOVE_1M = 0x30;
const CMOS_ABOVE_16M = 0x34;
/** As QEMU has it: vCPUs besides the first. */
const CMOS_OTHER_CPUS = 0x5f;

/** What a PC tells its firmware, and where all vCPUs keep what was asked last. */
export interface FirmwareData {
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** One word: the index of the CMOS memory. */
  readonly cmosIndex: SharedArrayBuffer;
}

export function allocateFirmware({
  memoryBytes,
  vcpus,
}: Pick<FirmwareData, 'memoryBytes' | 'vcpus'>): FirmwareData {
  return { memoryBytes, vcpus, cmosIndex: new SharedArrayBuffer(4) };
}

/**
 * The ports that firmware has besides those of a PC: its debug port, and the CMOS memory, where it
 * looks how much RAM there is.
 *
 * @param pc has all other ports
 * @param write receives the debug port's output, one character for each byte
 */
export function createFirmwarePorts(
  pc: Ports,
  write: (text: string) => void,
  data: FirmwareData,
): Ports {
  const line = createConsoleLine(write);
  const cmosIndex = new Int32Array(data.cmosIndex);
  const cmos = cmosOf(data);

  return {
    report: pc.report,
    flush: () => {
      line.flush();
      pc.flush();
    },
    access: (page) => {
      switch (page.ioPort) {
        case DEBUG_PORT:
          if (page.ioDirection === KVM_EXIT_IO_OUT) {
            writeBytes(page, line.put);
          } else {
            fill(page, DEBUG_PORT_LISTENS);
          }
          return null;
        case CMOS_INDEX:
          if (page.ioDirection === KVM_EXIT_IO_OUT) {
            Atomics.store(cmosIndex, 0, page.u8[page.ioDataOffset]! & CMOS_INDEX_MASK);
          } else {
            fill(page, 0xff);
          }
          return null;
        case CMOS_DATA:
          if (page.ioDirection !== KVM_EXIT_IO_OUT) {
            fill(page, cmos[Atomics.load(cmosIndex, 0)]!);
          }
          return null;
        default:
          return pc.access(page);
      }
    },
  };
}

/** The low byte of each element, for string instructions write several. */
function writeBytes(page: RunPage, put: (byte: number) => void): void {
  const { ioSize: size, ioCount: count, ioDataOffset: start } = page;
  for (let at = start; at < start + size * count; at += size) {
    put(page.u8[at]!);
  }
}

function fill(page: RunPage, value: number): void {
  const { ioSize: size, ioCount: count, ioDataOffset: start } = page;
  page.u8.fill(value, start, start + size * count);
}

function cmosOf({ memoryBytes, vcpus }: FirmwareData): Uint8Array {
  const cmos = new Uint8Array(CMOS_INDEX_MASK + 1);
  const view = new DataView(cmos.buffer);
  const above1M = Math.max(0, memoryBytes - 2 ** 20);
  view.setUint16(CMOS_ABOVE_1M, Math.min(Math.floor(above1M / 1024), 0xffff), true);
  const above16M = Math.max(0, memoryBytes - 2 ** 24);
  view.setUint16(CMOS_ABOVE_16M, Math.min(Math.floor(above16M / 65536), 0xffff), true);
  cmos[CMOS_OTHER_CPUS] = vcpus - 1;
  return cmos;
}
