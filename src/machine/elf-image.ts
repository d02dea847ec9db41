import { array, struct, u8, u16, u32, u64 } from '../ffi/layout.js';
import { XEN_ELFNOTE_PHYS32_ENTRY } from '../uapi/hvm-start-info.js';
import { BinaryReader } from './binary-reader.js';
import { IMAGE_START } from './guest-physical-map.js';
import type { Image, ImageNote, ImageSegment, LinuxKernel } from './image.js';

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
const XEN_NOTE_NAME = 'Xen\0';
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
  const reader = new BinaryReader(file, path, 'ELF file');
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
  const notes: Notes = { ours: null, pvhEntry: null };
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
      readNotes(reader, start, bytes, notes);
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
  const { ours, pvhEntry } = notes;
  const holds = (address: number): boolean =>
    segments.some(
      (segment) => address >= segment.address && address < segment.address + segment.bytes,
    );
  if (ours === null && pvhEntry !== null) {
    if (!holds(pvhEntry)) {
      reader.fail(`its PHYS32_ENTRY note (0x${pvhEntry.toString(16)}) lies outside its segments`);
    }
    return { mode: 'pvh', entry: pvhEntry, segments, note: null, kernel: kernelOf(segments) };
  }
  if (!holds(entry)) {
    reader.fail(`e_entry (0x${entry.toString(16)}) lies outside its segments`);
  }
  if (ours !== null && !holdsParameters(segments, ours.parameters)) {
    reader.fail('the parameter block of its faultline note lies outside its segments');
  }
  return { mode: 'long', entry, segments, note: ours, kernel: null };
}

/** Linux' own limits: COMMAND_LINE_SIZE with its NUL, and 32 bits for what PVH hands over. */
function kernelOf(segments: readonly ImageSegment[]): LinuxKernel {
  return {
    setupHeader: null,
    endAddress: Math.max(...segments.map(({ address, bytes }) => address + bytes)),
    mostCommandLineBytes: 2047,
    highestInitrdAddress: 0xffff_ffff,
  };
}

function loadSegment(
  reader: BinaryReader,
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
  if (!Number.isSafeInteger(address + memoryBytes)) {
    reader.fail(`a segment's p_paddr (0x${address.toString(16)}) is out of range`);
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

/** What the notes of an image say, those that mean anything here. */
interface Notes {
  ours: ImageNote | null;
  /** Where PVH starts it. */
  pvhEntry: number | null;
}

/** Looks through a PT_NOTE segment; of several notes of a kind the first counts. */
function readNotes(reader: BinaryReader, start: number, bytes: number, found: Notes): void {
  for (let at = start; at + 12 <= start + bytes; ) {
    const nameBytes = reader.u32(at, 'n_namesz');
    const descriptorBytes = reader.u32(at + 4, 'n_descsz');
    const type = reader.u32(at + 8, 'n_type');
    const descriptor = at + 12 + roundUp(nameBytes);
    const isNamed = (name: string): boolean =>
      nameBytes === name.length &&
      new TextDecoder('latin1').decode(reader.slice(at + 12, nameBytes, 'note name')) === name;
    if (type === NOTE_TYPE && isNamed(NOTE_NAME)) {
      if (descriptorBytes < note.size) {
        reader.fail(`its faultline note has ${descriptorBytes} bytes, not ${note.size}`);
      }
      found.ours ??= readNote(reader, descriptor);
    } else if (type === XEN_ELFNOTE_PHYS32_ENTRY && isNamed(XEN_NOTE_NAME)) {
      found.pvhEntry ??= readPvhEntry(reader, descriptor, descriptorBytes);
    }
    at = descriptor + roundUp(descriptorBytes);
  }
}

/** Linux writes 4 bytes or 8, as it is configured. */
function readPvhEntry(reader: BinaryReader, at: number, bytes: number): number {
  const field = 'its PHYS32_ENTRY note';
  if (bytes !== 4 && bytes !== 8) {
    return reader.fail(`${field} has ${bytes} bytes, not 4 or 8`);
  }
  const entry = bytes === 4 ? reader.u32(at, field) : reader.u64(at, field);
  if (entry > 0xffff_ffff) {
    return reader.fail(`${field} is 0x${entry.toString(16)}, which has more than 32 bits`);
  }
  return entry;
}

function readNote(reader: BinaryReader, at: number): ImageNote {
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
