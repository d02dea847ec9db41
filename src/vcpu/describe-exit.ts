import { constants } from 'node:os';
import { errnoName } from '../ffi/errors.js';
import type { RunPage } from '../kvm/run-page.js';
import * as uapi from '../uapi/kvm-run.js';

const EXIT_NAMES = new Map(
  Object.entries<unknown>(uapi).flatMap(([name, value]): [number, string][] =>
    name.startsWith('KVM_EXIT_') && !name.startsWith('KVM_EXIT_IO_') && typeof value === 'number'
      ? [[value, name]]
      : [],
  ),
);

/**
 * One sentence for an exit that ends the run because nothing here serves it.
 *
 * @param trapped whether missing pages trap: exit delivery
 */
export function describeExit(page: RunPage, trapped = true): string {
  const reason = page.exitReason;
  const name = EXIT_NAMES.get(reason) ?? `exit reason ${reason}`;
  if (reason === uapi.KVM_EXIT_INTERNAL_ERROR) {
    return describeInternalError(page, trapped);
  }
  if (reason === uapi.KVM_EXIT_FAIL_ENTRY) {
    const code = page.u32[uapi.kvm_run_fail_entry.offset.hardware_entry_failure_reason >> 2]!;
    return `the CPU refused to enter the guest (KVM_EXIT_FAIL_ENTRY, hardware reason 0x${code.toString(16)})`;
  }
  return `KVM_RUN ended with ${name}, which this VMM does not serve`;
}

/**
 * The bytes of the instruction that KVM could not emulate, as far as it tells them.
 *
 * @returns null for an exit of another kind
 */
export function unemulatedCode(page: RunPage): number[] | null {
  const { offset } = uapi.kvm_run_emulation_failure;
  if (
    page.exitReason !== uapi.KVM_EXIT_INTERNAL_ERROR ||
    page.u32[offset.suberror >> 2] !== uapi.KVM_INTERNAL_ERROR_EMULATION
  ) {
    return null;
  }
  const flags = page.u32[offset.flags >> 2]!;
  const known = (flags & uapi.KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) !== 0;
  const size = known ? Math.min(page.u8[offset.insn_size]!, 15) : 0;
  return [...page.u8.subarray(offset.insn_bytes, offset.insn_bytes + size)];
}

function describeInternalError(page: RunPage, trapped: boolean): string {
  const code = unemulatedCode(page);
  if (code === null) {
    const { suberror } = uapi.kvm_run_emulation_failure.offset;
    return `KVM_EXIT_INTERNAL_ERROR, suberror ${page.u32[suberror >> 2]!}`;
  }
  const hex = code.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  const hint = trapped
    ? 'its code may not be resident, and code that KVM emulates must be: try --delivery handler, in which KVM waits for it'
    : 'its code cannot be read';
  return hex === ''
    ? `KVM could not emulate an instruction of the guest (KVM_EXIT_INTERNAL_ERROR); ${hint}`
    : `KVM could not emulate an instruction of the guest (KVM_EXIT_INTERNAL_ERROR): bytes ${hex}`;
}

/** One sentence for a KVM_RUN that failed. */
export function describeRunError(error: number, trapped: boolean): string {
  if (error === constants.errno.EFAULT && trapped) {
    return 'KVM_RUN failed with EFAULT and gave no address: a missing page had lost its trap marker, or somebody has write-protected a page that the guest wrote to';
  }
  return `KVM_RUN failed with ${errnoName(error)}`;
}
