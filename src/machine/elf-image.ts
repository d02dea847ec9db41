import { UsageError } from '../ffi/errors.js';
import { array, struct, u8, u16, u32, u64 } from '../ffi/layout.js';
import { IMAGE_START } from './guest-physical-map.js';
import type { Image, ImageNote, ImageSegment } from './image.js';

const ehdr = struct({
  e_ident: array(u8, 16),
  e_type: u16,
  e_machine: u16,
  e_version: u32,
  e_entry: u64,
  e_phoff: u64,
  e_shoff: u64,
  e_flags: u32,
  e_ehsize: u16,
  e_phentsize: u16,
  e_phnum: u16,
  e_shentsize: u16,
  e_shnum: u16,
  e_shstrndx: u16,
});

const phdr = struct({
  p_type: u32,
  p_flags: u32,
  p_offset: u64,
  p_vaddr: u64,
  p_paddr: u64,
  p_filesz: u64,
  p_memsz: u64,
  p_align: u64,
});

const note = struct({
  abi: u32,
  privilegeLevel: u32,
  parameters: u64,
  histograms: u64,
  histogramStride: u64,
});

const PT_LOAD = 1;
const PT_NOTE = 4;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const EM_X86_64 = 62;

const NOTE_NAME = 'faultline\0';
const NOTE_TYPE = 1;
const ABI_VERSION = 1;
/** Room that an image has for its parameters. */
const PARAMETER_BYTES = 128;

/** What execve(2) allows. Reading them takes time that no timeout ends, as do notes. */
const MAX_HEADER_TABLE_BYTES = 65536;
/** All PT_NOTE segments together. */
const MAX_NOTE_BYTES = 2 ** 20;

/** All segments together: they are written before the guest starts, and no timeout applies yet. */
const MAX_IMAGE_BYTES = 2 ** 30;

export function isElf(file: Uint8Array): boolean {
  return file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/**
 * An ELF64 executable for x86-64, its segments at their physical addresses. The file is untrusted:
 * every field is checked before it is used.
 *
 * @throws UsageError naming the field that is wrong
 */
export function parseElf(file: Uint8Array, path: string): Image {
  const reader = new ElfReader(file, path);
  reader.expect(reader.u8(4, 'EI_CLASS'), ELFCLASS64, 'EI_CLASS (a 64-bit image is wanted)');
  reader.expect(reader.u8(5, 'EI_DATA'), ELFDATA2LSB, 'EI_DATA (little endian is wanted)');
  const { offset } = ehdr;
  reader.expect(reader.u16(offset.e_machine, 'e_machine'), EM_X86_64, 'e_machine (x86-64 is 62)');
  const entry = reader.u64(offset.e_entry, 'e_entry');
  const table = reader.u64(offset.e_phoff, 'e_phoff');
  const count = reader.u16(offset.e_phnum, 'e_phnum');
  const stride = reader.u16(offset.e_phentsize, 'e_phentsize');
  if (stride < phdr.size) {
    reader.fail(`e_phentsize is ${stride}, less than ${phdr.size}`);
  }
  if (count * stride > MAX_HEADER_TABLE_BYTES) {
    reader.fail(
      `its ${count} program headers (e_phnum) are larger than ${MAX_HEADER_TABLE_BYTES} bytes`,
    );
  }
  const segments: ImageSegment[] = [];
  let noteBytes = 0;
  let found: ImageNote | null = null;
  for (let index = 0; index < count; index++) {
    const header = table + index * stride;
    const type = reader.u32(header + phdr.offset.p_type, 'p_type');
    const start = reader.u64(header + phdr.offset.p_offset, 'p_offset');
    const bytes = reader.u64(header + phdr.offset.p_filesz, 'p_filesz');
    if (type === PT_NOTE) {
      noteBytes += bytes;
      if (noteBytes > MAX_NOTE_BYTES) {
        reader.fail(`the p_filesz of its notes add up to more than ${MAX_NOTE_BYTES}`);
      }
      found ??= findNote(reader, start, bytes);
    } else if (type === PT_LOAD) {
      const memory = reader.u64(header + phdr.offset.p_memsz, 'p_memsz');
      const address = reader.u64(header + phdr.offset.p_paddr, 'p_paddr');
      segments.push(loadSegment(reader, start, bytes, address, memory));
    }
  }
  if (segments.length === 0) {
    reader.fail('it has no PT_LOAD segment');
  }
  const memoryBytes = segments.reduce((sum, segment) => sum + segment.bytes, 0);
  if (memoryBytes > MAX_IMAGE_BYTES) {
    reader.fail(
      `the p_memsz of its segments add up to ${memoryBytes}, more than ${MAX_IMAGE_BYTES}`,
    );
  }
  if (!segments.some(({ address, bytes }) => entry >= address && entry < address + bytes)) {
    reader.fail(`e_entry (0x${entry.toString(16)}) lies outside its segments`);
  }
  if (found !== null && !holdsParameters(segments, found.parameters)) {
    reader.fail('the parameter block of its faultline note lies outside its segments');
  }
  return { mode: 'long', entry, segments, note: found };
}

function loadSegment(
  reader: ElfReader,
  start: number,
  fileBytes: number,
  address: number,
  memoryBytes: number,
): ImageSegment {
  if (fileBytes > memoryBytes) {
    reader.fail(`a segment's p_filesz (${fileBytes}) exceeds its p_memsz (${memoryBytes})`);
  }
  if (address < IMAGE_START) {
    reader.fail(
      `a segment's p_paddr (0x${address.toString(16)}) lies below 0x${IMAGE_START.toString(16)}, where the boot tables are`,
    );
  }
  return { address, data: reader.slice(start, fileBytes, 'p_offset'), bytes: memoryBytes };
}

/** 0 stands for none. */
function holdsParameters(segments: readonly ImageSegment[], parameters: number): boolean {
  return (
    parameters === 0 ||
    segments.some(
      ({ address, bytes }) =>
        parameters >= address && parameters + PARAMETER_BYTES <= address + bytes,
    )
  );
}

/** The first note of this project in a PT_NOTE segment. */
function findNote(reader: ElfReader, start: number, bytes: number): ImageNote | null {
  for (let at = start; at + 12 <= start + bytes; ) {
    const nameBytes = reader.u32(at, 'n_namesz');
    const descriptorBytes = reader.u32(at + 4, 'n_descsz');
    const type = reader.u32(at + 8, 'n_type');
    const name = at + 12;
    const descriptor = name + roundUp(nameBytes);
    const named =
      nameBytes === NOTE_NAME.length &&
      new TextDecoder('latin1').decode(reader.slice(name, nameBytes, 'note name')) === NOTE_NAME;
    if (named && type === NOTE_TYPE) {
      if (descriptorBytes < note.size) {
        reader.fail(`its faultline note has ${descriptorBytes} bytes, not ${note.size}`);
      }
      return readNote(reader, descriptor);
    }
    at = descriptor + roundUp(descriptorBytes);
  }
  return null;
}

function readNote(reader: ElfReader, at: number): ImageNote {
  reader.expect(reader.u32(at, 'note'), ABI_VERSION, 'the ABI version of its faultline note');
  const privilegeLevel = reader.u32(at + note.offset.privilegeLevel, 'note');
  if (privilegeLevel !== 0 && privilegeLevel !== 3) {
    return reader.fail(`its faultline note asks for CPL ${privilegeLevel}; 0 and 3 are possible`);
  }
  return {
    privilegeLevel,
    parameters: reader.u64(at + note.offset.parameters, 'note'),
    histograms: reader.u64(at + note.offset.histograms, 'note'),
    histogramStride: reader.u64(at + note.offset.histogramStride, 'note'),
  };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

/** Bounds-checked little-endian reads. */
class ElfReader {
  private readonly file: Uint8Array;
  private readonly view: DataView;
  private readonly path: string;

  constructor(file: Uint8Array, path: string) {
    this.file = file;
    this.view = new DataView(file.buffer, file.byteOffset, file.length);
    this.path = path;
  }

  u8(at: number, field: string): number {
    return this.view.getUint8(this.check(at, 1, field));
  }

  u16(at: number, field: string): number {
    return this.view.getUint16(this.check(at, 2, field), true);
  }

  u32(at: number, field: string): number {
    return this.view.getUint32(this.check(at, 4, field), true);
  }

  /** An address or size: refused, not rounded, above 2^53. */
  u64(at: number, field: string): number {
    const value = this.view.getBigUint64(this.check(at, 8, field), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      this.fail(`${field} is 0x${value.toString(16)}, which is out of range`);
    }
    return Number(value);
  }

  slice(at: number, bytes: number, field: string): Uint8Array {
    return this.file.subarray(this.check(at, bytes, field), at + bytes);
  }

  expect(value: number, wanted: number, field: string): void {
    if (value !== wanted) {
      this.fail(`${field} is ${value}, not ${wanted}`);
    }
  }

  fail(why: string): never {
    throw new UsageError(`image ${this.path} is not a usable ELF file: ${why}`);
  }

  private check(at: number, bytes: number, field: string): number {
    if (at + bytes > this.file.length) {
      this.fail(`${field} points behind the end of the file`);
    }
    return at;
  }
}
