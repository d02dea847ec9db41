/** Builds small ELF64 guests for tests, from machine code. */

export interface GuestElf {
  /** Machine code, loaded and entered at 1 MiB. */
  readonly code: readonly number[];
  /** 0 without a note, else what the note asks for. */
  readonly privilegeLevel?: 0 | 3;
}

const LOAD_ADDRESS = 0x100000;
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;

/** An ELF64 file with one PT_LOAD segment and, for CPL3, the note that asks for it. */
export function buildGuestElf({ code, privilegeLevel = 0 }: GuestElf): Uint8Array {
  const note = buildNote(privilegeLevel);
  const noteStart = HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES;
  const codeStart = noteStart + note.length;
  const file = new Uint8Array(codeStart + code.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], 0);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setBigUint64(24, BigInt(LOAD_ADDRESS), true);
  view.setBigUint64(32, BigInt(HEADER_BYTES), true);
  view.setUint16(54, PROGRAM_HEADER_BYTES, true);
  view.setUint16(56, 2, true);
  programHeader(view, HEADER_BYTES, 1, codeStart, code.length);
  programHeader(view, HEADER_BYTES + PROGRAM_HEADER_BYTES, 4, noteStart, note.length);
  file.set(note, noteStart);
  file.set(code, codeStart);
  return file;
}

function programHeader(
  view: DataView,
  at: number,
  type: number,
  start: number,
  bytes: number,
): void {
  view.setUint32(at, type, true);
  view.setBigUint64(at + 8, BigInt(start), true);
  view.setBigUint64(at + 24, BigInt(LOAD_ADDRESS), true);
  view.setBigUint64(at + 32, BigInt(bytes), true);
  view.setBigUint64(at + 40, BigInt(bytes), true);
}

function buildNote(privilegeLevel: number): Uint8Array {
  const note = new Uint8Array(12 + 12 + 32);
  const view = new DataView(note.buffer);
  view.setUint32(0, 10, true);
  view.setUint32(4, 32, true);
  view.setUint32(8, 1, true);
  note.set(new TextEncoder().encode('faultline\0'), 12);
  view.setUint32(24, 1, true); // ABI version
  view.setUint32(28, privilegeLevel, true);
  return note;
}
