import {
  PM_TIMER_PORT,
  PM1_CONTROL_PORT,
  PM1_EVENT_PORT,
  PM1_EVENT_PORTS,
  SLEEP_TYPE_S5,
} from '../vcpu/pc-port-numbers.js';
import type { ImageSegment } from './image.js';

/**
 * The least ACPI (6.5) that Linux needs to find several vCPUs, the interrupt controllers that KVM has
 * in the kernel, and a way to switch the machine off. Always in ACPI mode: there is no SMI command.
 */

/** Where firmware has its tables, and where a kernel that is not told looks for the root pointer. */
export const ACPI_ADDRESS = 0xe0000;

const LOCAL_APIC_ADDRESS = 0xfee0_0000;
const IO_APIC_ADDRESS = 0xfec0_0000;
/** The interrupt that ACPI events would come by. */
const SCI = 9;

const HEADER_BYTES = 36;
const FADT_BYTES = 276;
const OEM = 'FAULTL';

/** \_S5: what to write to the control register to switch off. */
const DSDT_CODE = Uint8Array.from([
  ...[0x08, 0x5f, 0x53, 0x35, 0x5f], // Name (_S5_,
  ...[0x12, 0x08, 0x04], // Package (4) {
  ...[0x0a, SLEEP_TYPE_S5, 0x0a, SLEEP_TYPE_S5, 0x00, 0x00], // 5, 5, 0, 0 })
]);

/** The tables for so many vCPUs, whose APIC ids are their numbers. */
export function buildAcpiTables(vcpus: number): ImageSegment {
  const pointerBytes = 36;
  const dsdt = table('DSDT', 2, DSDT_CODE);
  const madt = table('APIC', 5, interruptControllers(vcpus));
  const dsdtAddress = align(ACPI_ADDRESS + pointerBytes);
  const madtAddress = align(dsdtAddress + dsdt.length);
  const fadtAddress = align(madtAddress + madt.length);
  const fadt = fixedDescription(dsdtAddress);
  const xsdtAddress = align(fadtAddress + fadt.length);
  const xsdt = table('XSDT', 1, addresses([fadtAddress, madtAddress]));
  const end = xsdtAddress + xsdt.length;
  const data = new Uint8Array(end - ACPI_ADDRESS);
  data.set(rootPointer(xsdtAddress));
  data.set(dsdt, dsdtAddress - ACPI_ADDRESS);
  data.set(madt, madtAddress - ACPI_ADDRESS);
  data.set(fadt, fadtAddress - ACPI_ADDRESS);
  data.set(xsdt, xsdtAddress - ACPI_ADDRESS);
  return { address: ACPI_ADDRESS, data, bytes: data.length };
}

/** A table with its header and checksum. */
function table(signature: string, revision: number, contents: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + contents.length);
  const view = new DataView(bytes.buffer);
  text(bytes, 0, signature);
  view.setUint32(4, bytes.length, true);
  view.setUint8(8, revision);
  text(bytes, 10, OEM);
  text(bytes, 16, 'FAULTLIN');
  view.setUint32(24, 1, true);
  text(bytes, 28, 'FLTL');
  view.setUint32(32, 1, true);
  bytes.set(contents, HEADER_BYTES);
  bytes[9] = checksum(bytes);
  return bytes;
}

function rootPointer(xsdtAddress: number): Uint8Array {
  const bytes = new Uint8Array(36);
  const view = new DataView(bytes.buffer);
  text(bytes, 0, 'RSD PTR ');
  text(bytes, 9, OEM);
  view.setUint8(15, 2);
  view.setUint32(20, bytes.length, true);
  view.setBigUint64(24, BigInt(xsdtAddress), true);
  bytes[8] = checksum(bytes.subarray(0, 20)); // that of ACPI 1.0
  bytes[32] = checksum(bytes);
  return bytes;
}

/** FADT. Offsets are those of the specification, from the start of the table. */
function fixedDescription(dsdtAddress: number): Uint8Array {
  const contents = new Uint8Array(FADT_BYTES - HEADER_BYTES);
  const view = new DataView(contents.buffer);
  const at = (offset: number): number => offset - HEADER_BYTES;
  view.setUint32(at(40), dsdtAddress, true);
  view.setUint16(at(46), SCI, true);
  view.setUint32(at(56), PM1_EVENT_PORT, true);
  view.setUint32(at(64), PM1_CONTROL_PORT, true);
  view.setUint32(at(76), PM_TIMER_PORT, true);
  view.setUint8(at(88), PM1_EVENT_PORTS);
  view.setUint8(at(89), 2);
  view.setUint8(at(91), 4);
  view.setUint16(at(96), 0xffff, true); // no C2
  view.setUint16(at(98), 0xffff, true); // no C3
  // Legacy devices; no i8042 but for its reset line (Linux would wait for its answers, for seconds),
  // no VGA, no MSI, no CMOS clock.
  view.setUint16(at(109), 0x0001 | 0x0004 | 0x0008 | 0x0020, true);
  // WBINVD works; fixed-feature buttons are none; the timer has 32 bits.
  view.setUint32(at(112), 0x0001 | 0x0010 | 0x0020 | 0x0100, true);
  view.setBigUint64(at(140), BigInt(dsdtAddress), true);
  port(view, at(148), PM1_EVENT_PORT, PM1_EVENT_PORTS, 3);
  port(view, at(172), PM1_CONTROL_PORT, 2, 2);
  port(view, at(208), PM_TIMER_PORT, 4, 3);
  const bytes = table('FACP', 6, contents);
  return bytes;
}

/** A generic address structure in I/O space. */
function port(view: DataView, at: number, address: number, bytes: number, access: number): void {
  view.setUint8(at, 1);
  view.setUint8(at + 1, bytes * 8);
  view.setUint8(at + 3, access);
  view.setBigUint64(at + 4, BigInt(address), true);
}

/** MADT: a local APIC for each vCPU, the I/O APIC, and that the timer is wired to its pin 2. */
function interruptControllers(vcpus: number): Uint8Array {
  const bytes = new Uint8Array(8 + vcpus * 8 + 12 + 2 * 10 + 6);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, LOCAL_APIC_ADDRESS, true);
  view.setUint32(4, 1, true); // there are 8259s, too
  let at = 8;
  for (let id = 0; id < vcpus; id++) {
    bytes.set([0, 8, id, id, 1, 0, 0, 0], at);
    at += 8;
  }
  bytes.set([1, 12, 0, 0], at);
  view.setUint32(at + 4, IO_APIC_ADDRESS, true);
  at += 12;
  bytes.set([2, 10, 0, 0, 2, 0, 0, 0, 0, 0], at); // IRQ 0 is pin 2, as the bus has it
  at += 10;
  bytes.set([2, 10, 0, SCI, SCI, 0, 0, 0, 0x0d, 0], at); // level, active high
  at += 10;
  bytes.set([4, 6, 0xff, 0, 0, 1], at); // NMI: LINT1 of all
  return bytes;
}

function addresses(all: readonly number[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(all.map(BigInt)).buffer);
}

function text(bytes: Uint8Array, at: number, characters: string): void {
  bytes.set(new TextEncoder().encode(characters), at);
}

/** What makes the sum of all bytes 0. */
function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function align(address: number): number {
  return Math.ceil(address / 64) * 64;
}
