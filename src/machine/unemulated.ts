import { walkPageTables } from '../kvm/page-walk.js';
import type { CodePosition, Vcpu } from '../kvm/vcpu.js';
import { hostPaging } from '../measure/host.js';
import { openAccess } from '../memory/guest-access.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { MAPPED } from '../memory/page-states.js';
import { disassemble } from './disassemble.js';
import type { RunError } from './run-result.js';

/** The longest instruction. */
const MOST_BYTES = 15;
const PAGE = 4096;

/**
 * Why KVM could not emulate what a vCPU stands at: which instruction that is.
 *
 * @param told the bytes that KVM gave, which may be none
 * @returns null where its bytes are not to be had, or are no instruction: the code itself was missing
 */
export function explainUnemulated(
  memory: GuestMemory,
  vcpu: Vcpu,
  who: string,
  told: readonly number[],
): RunError | null {
  const position = vcpu.codePosition();
  const code = told.length > 0 ? Uint8Array.from(told) : readCode(memory, position);
  const instruction = disassemble(code, position.bits, position.rip);
  if (instruction === null) {
    return null;
  }
  const bytes = Array.from(instruction.bytes, (byte) => byte.toString(16).padStart(2, '0'));
  return {
    code: 'guest',
    message: `${who}: KVM cannot emulate the instruction '${instruction.text}' (${bytes.join(' ')}, ${position.bits}-bit code)`,
    hint:
      hostPaging() === 'shadow'
        ? 'A KVM with shadow paging runs code at CPL0 in its emulator, which knows a part of the instructions; with VMX or SVM the CPU itself runs them.'
        : 'KVM emulates what accesses memory that is no RAM, and code in modes that the CPU does not run by itself; its emulator knows a part of the instructions.',
  };
}

/** What can be read from RIP on, of pages that are there. */
function readCode(memory: GuestMemory, position: CodePosition): Uint8Array {
  const { layout, states } = memory;
  const access = openAccess(layout);
  const read = (gpa: number, bytes: number): Uint8Array | null =>
    gpa + bytes <= layout.bytes && states.stateOf(Math.floor(gpa / layout.unitBytes)) === MAPPED
      ? access.read(gpa, bytes)
      : null;
  const code: number[] = [];
  while (code.length < MOST_BYTES) {
    const linear = position.linear + BigInt(code.length);
    const gpa = walkPageTables(linear, position, read);
    if (gpa === null) {
      break;
    }
    const bytes = read(gpa, Math.min(MOST_BYTES - code.length, PAGE - (gpa % PAGE)));
    if (bytes === null) {
      break;
    }
    code.push(...bytes);
  }
  return Uint8Array.from(code);
}
