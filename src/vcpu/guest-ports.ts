import { KVM_EXIT_IO_OUT } from '../uapi/kvm-run.js';
import type { Ports } from './ports.js';

/** The ports of guest-images/abi.h; a test compares them. */
export const PORT_SERIAL = 0x3f8;
export const PORT_EXIT = 0xf4;
export const PORT_REPORT = 0xa00;
export const REPORT_WORDS = 16;

const LINE_STATUS = PORT_SERIAL + 5;
const TRANSMITTER_EMPTY = 0x60;
const NEWLINE = 10;
/** A line without an end is passed on in pieces of this many bytes. */
const LINE_BYTES = 256;

/**
 * The ports of a guest of this project.
 *
 * @param write receives the console, a line at a time so that vCPUs do not mix theirs; one character
 * for each byte, whatever the guest wrote
 */
export function createGuestPorts(write: (text: string) => void): Ports {
  const line = Buffer.alloc(LINE_BYTES);
  const report = new Uint32Array(REPORT_WORDS);
  let length = 0;

  const flush = (): void => {
    if (length > 0) {
      write(line.toString('latin1', 0, length)); // TextDecoder's latin1 is windows-1252
      length = 0;
    }
  };

  const serial = (byte: number): void => {
    line[length++] = byte;
    if (byte === NEWLINE || length === LINE_BYTES) {
      flush();
    }
  };

  return {
    report,
    flush,
    access: (page) => {
      const { ioPort: port, ioSize: size, ioCount: count, ioDataOffset: start } = page;
      if (page.ioDirection !== KVM_EXIT_IO_OUT) {
        // No device: the bus floats high, but for a transmitter that is always ready.
        page.u8.fill(port === LINE_STATUS ? TRANSMITTER_EMPTY : 0xff, start, start + size * count);
        return null;
      }
      if (port === PORT_SERIAL && size === 1) {
        for (let at = start; at < start + count; at++) {
          serial(page.u8[at]!);
        }
        return null;
      }
      // KVM's data page is aligned, so a 32-bit element lies on a word.
      const value = size === 4 ? page.u32[(start + size * (count - 1)) >> 2]! : 0;
      if (port === PORT_EXIT && size === 4) {
        return { reason: 'exited', code: value };
      }
      const word = (port - PORT_REPORT) / 4;
      if (size === 4 && word >= 0 && word < REPORT_WORDS && Number.isInteger(word)) {
        report[word] = value;
      }
      return null;
    },
  };
}
