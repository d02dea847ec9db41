import { createRequire } from 'node:module';
import type * as Iced from 'iced-x86';
import type { CodeBits } from '../kvm/vcpu.js';

/**
 * The first instruction of some code, in AT&T syntax as objdump and the kernel print it. The decoder
 * is loaded at the first call: only runs that end badly need it.
 *
 * @param address of the code, which relative jumps count from
 * @returns null where the bytes are no instruction, or only the beginning of one
 */
export function disassemble(code: Uint8Array, bits: CodeBits, address: bigint): Instruction | null {
  const { Decoder, DecoderOptions, Formatter, FormatterSyntax } = loadDecoder();
  const decoder = new Decoder(bits, code, DecoderOptions.None);
  decoder.ip = address;
  const instruction = decoder.decode();
  const formatter = new Formatter(FormatterSyntax.Gas);
  try {
    if (instruction.isInvalid) {
      return null;
    }
    return { text: formatter.format(instruction), bytes: code.slice(0, instruction.length) };
  } finally {
    // What WebAssembly has allocated is not collected.
    formatter.free();
    instruction.free();
    decoder.free();
  }
}

export interface Instruction {
  readonly text: string;
  readonly bytes: Uint8Array;
}

/** A CommonJS package: no await, so that explaining an end needs none. */
function loadDecoder(): typeof Iced {
  return createRequire(import.meta.url)('iced-x86');
}
