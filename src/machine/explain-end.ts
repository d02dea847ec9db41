import type { HandlerEnd } from '../fault/handler-loop.js';
import type { MemoryErrorCause, Resolver } from '../fault/resolver.js';
import { errnoName } from '../ffi/errors.js';
import type { VcpuEnd } from '../vcpu/run-loop.js';
import type { Machine } from './machine.js';
import type { RunError } from './run-result.js';

const CAUSES: Readonly<Record<MemoryErrorCause, string>> = {
  source: 'its source could not supply it',
  continue: 'UFFDIO_CONTINUE could not map it',
  populate: 'MADV_POPULATE_WRITE could not bring it back',
  repeated: 'it was continued and is missing again, which no-uffd-wait takes for a memory error',
  poisoned: 'it had failed before',
};

/** Why a vCPU that has ended did not end well; null if it did, or was only told to stop. */
export function explainVcpuEnd(machine: Machine, index: number, end: VcpuEnd): RunError | null {
  switch (end.reason) {
    case 'halted':
    case 'stopped':
      return null;
    case 'exited':
      // The `touch` guest's own complaint is more telling than its exit code.
      return end.code === 0 || machine.workload.pagesTouched !== null
        ? null
        : {
            code: 'guest',
            message: `vCPU ${index} ended with exit code ${end.code}`,
            hint: '',
          };
    case 'shutdown':
      return {
        code: 'shutdown',
        message: `vCPU ${index} shut down (triple fault) ${whereabouts(machine, index)}`,
        hint:
          machine.delivery.trapped && machine.image.mode === 'long' && machine.image.note === null
            ? 'If it runs under --delivery handler, a table of its own that the CPU reads (page tables, GDT, IDT, TSS) was missing: under shadow paging these must be resident for exit delivery.'
            : '',
      };
    case 'memory-error':
      return memoryError(machine, end.failure, `vCPU ${index} ${whereabouts(machine, index)}: `);
    case 'failed':
      return {
        code: 'guest',
        message: `vCPU ${index} ${whereabouts(machine, index)}: ${end.detail}`,
        hint: '',
      };
  }
}

/** Why a handler ended before it was told to, or null. */
export function explainHandlerEnd(machine: Machine, end: HandlerEnd): RunError | null {
  return end.reason === 'memory-error' ? memoryError(machine, end.failure, '') : null;
}

function memoryError(machine: Machine, failure: Resolver['failure'], who: string): RunError {
  const { unitBytes, guestAddress } = machine.memory.layout;
  const gpa = failure.unit * unitBytes;
  const errno = failure.errno === 0 ? '' : ` (${errnoName(failure.errno)})`;
  return {
    code: 'memory-error',
    message: `${who}no contents for GPA ${hex(gpa)} (HVA ${hex(guestAddress + gpa)}): ${CAUSES[failure.cause]}${errno}`,
    hint: '',
  };
}

function whereabouts(machine: Machine, index: number): string {
  const vcpu = machine.vcpus[index]!;
  const { rip } = vcpu.registers();
  const { cr0, cr3 } = vcpu.systemRegisters();
  return `at RIP ${hex(rip)} (CR0 ${hex(cr0)}, CR3 ${hex(cr3)})`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
