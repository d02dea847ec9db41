/** ELF images for tests, built field by field; any field can be given another value. */

const ELF_HEADER = 64;
const PROGRAM_HEADER = 56;

export interface ElfFields {
  readonly ident: Uint8Array;
  readonly e_machine: number;
  readonly e_entry: bigint;
  readonly e_phoff: bigint;
  readonly e_phentsize: number;
  readonly e_phnum: number;
  readonly p_type: number;
  readonly p_offset: bigint;
  readonly p_paddr: bigint;
  readonly p_filesz: bigint;
  readonly p_memsz: bigint;
  readonly code: Uint8Array;
  readonly note: Uint8Array;
  readonly noteBytes: bigint;
  readonly noteOffset: bigint;
}

/** A note as touch.S writes it. */
export function buildNote(
  fields: {
    abi?: number;
    level?: number;
    type?: number;
    name?: string;
    bytes?: number;
    parameters?: number;
  } = {},
): Uint8Array {
  const { abi = 1, level = 3, type = 1, name = 'faultline\0', bytes = 32 } = fields;
  const note = Buffer.alloc(12 + 12 + 32);
  note.writeUInt32LE(name.length, 0);
  note.writeUInt32LE(bytes, 4);
  note.writeUInt32LE(type, 8);
  note.write(name, 12, 'latin1');
  note.writeUInt32LE(abi, 24);
  note.writeUInt32LE(level, 28);
  note.writeBigUInt64LE(BigInt(fields.parameters ?? 0x100800), 32); // parameter block
  note.writeBigUInt64LE(0x101000n, 40); // histograms
  note.writeBigUInt64LE(0x2000n, 48); // from one to the next
  return note;
}

/** The note that Xen's PVH protocol finds its entry point by. */
export function buildPvhNote(entry: number, bytes: 4 | 8 = 4, name = 'Xen\0'): Uint8Array {
  const note = Buffer.alloc(12 + 4 + bytes);
  note.writeUInt32LE(name.length, 0);
  note.writeUInt32LE(bytes, 4);
  note.writeUInt32LE(18, 8); // XEN_ELFNOTE_PHYS32_ENTRY
  note.write(name, 12, 'latin1');
  note.writeUInt32LE(entry, 16);
  return note;
}

/** Header, two program headers (PT_LOAD, PT_NOTE), 16 bytes of code, the note. */
export function buildElf(fields: Partial<ElfFields> = {}): Uint8Array {
  const code = fields.code ?? new Uint8Array(16).fill(0x90);
  const note = fields.note ?? buildNote();
  const codeAt = ELF_HEADER + 2 * PROGRAM_HEADER;
  const noteAt = codeAt + code.length;
  const file = Buffer.alloc(noteAt + note.length);
  file.set(fields.ident ?? [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(2, 16); // e_type: ET_EXEC
  file.writeUInt16LE(fields.e_machine ?? 62, 18);
  file.writeUInt32LE(1, 20); // e_version
  file.writeBigUInt64LE(fields.e_entry ?? 0x100000n, 24);
  file.writeBigUInt64LE(fields.e_phoff ?? BigInt(ELF_HEADER), 32);
  file.writeUInt16LE(ELF_HEADER, 52); // e_ehsize
  file.writeUInt16LE(fields.e_phentsize ?? PROGRAM_HEADER, 54);
  file.writeUInt16LE(fields.e_phnum ?? 2, 56);
  const load = file.subarray(ELF_HEADER);
  load.writeUInt32LE(fields.p_type ?? 1, 0);
  load.writeBigUInt64LE(fields.p_offset ?? BigInt(codeAt), 8);
  load.writeBigUInt64LE(0xdead_0000n, 16); // p_vaddr: not what counts
  load.writeBigUInt64LE(fields.p_paddr ?? 0x100000n, 24);
  load.writeBigUInt64LE(fields.p_filesz ?? BigInt(code.length), 32);
  load.writeBigUInt64LE(fields.p_memsz ?? 0x1000n, 40);
  const second = file.subarray(ELF_HEADER + PROGRAM_HEADER);
  second.writeUInt32LE(4, 0); // PT_NOTE
  second.writeBigUInt64LE(fields.noteOffset ?? BigInt(noteAt), 8);
  second.writeBigUInt64LE(fields.noteBytes ?? BigInt(note.length), 32);
  file.set(code, codeAt);
  file.set(note, noteAt);
  return file;
}
