import { fstatSync } from 'node:fs';
import type { HandlerEnd } from '../fault/handler-loop.js';
import type { Installer } from '../fault/installer.js';
import {
  causeOf,
  errnoOf,
  type MemoryErrorCause,
  type MemoryFailure,
} from '../fault/memory-error.js';
import { type ErrorReport, errnoName } from '../ffi/errors.js';
import { readHugetlbPool } from '../memory/hugetlb-pool.js';
import { formatSize } from '../memory/sizes.js';
import { X86_CR0_PG } from '../uapi/kvm-x86.js';
import type { VcpuWorkerEnd } from '../vcpu/vcpu-worker.js';
import type { Crew } from './crew.js';
import { PML4_ADDRESS } from './guest-physical-map.js';
import type { Machine } from './machine.js';
import type { RunError } from './run-result.js';
import { explainUnemulated } from './unemulated.js';

const CAUSES: Readonly<Record<MemoryErrorCause, string>> = {
  source: 'its source could not supply it',
  allocate: 'no memory could be had for it',
  map: 'it could not be mapped',
  populate: 'MADV_POPULATE_WRITE could not bring it back',
  repeated: 'it was continued and is missing again, which no-uffd-wait takes for a memory error',
  asked: 'it was to fail (--poison)',
  protected: 'somebody has write-protected it by userfaultfd',
};

/** Why memory could not be filled beforehand; null if it was. */
export function explainUnfilled(machine: Machine, unit: number | null): RunError | null {
  return unit === null
    ? null
    : cutShort(machine, fillError(machine, { unit, ...machine.installer.failure }));
}

/** What went wrong in a crew that has ended, or null. */
export function failureOf(machine: Machine, crew: Crew): RunError | null {
  const error = crewFailure(machine, crew);
  return error === null ? null : cutShort(machine, error);
}

/** The same error, unless the memory's file has been truncated, which is then its cause. */
function cutShort({ memory }: Machine, error: RunError): RunError {
  const { backing, layout } = memory;
  if (
    !backing.truncatable ||
    backing.file.kind !== 'path' ||
    !['guest', 'syscall', 'memory-error', 'shutdown'].includes(error.code) ||
    error.message.includes(CAUSES.source)
  ) {
    return error;
  }
  const { path } = backing.file;
  const { size } = fstatSync(layout.fd);
  if (size >= layout.bytes) {
    if (!error.message.includes('EFAULT')) {
      return error;
    }
    const hint = `Another process may have cut ${path} short, if only for a moment, or its file system may be full.`;
    return { ...error, hint: error.hint || hint };
  }
  return {
    code: 'memory-error',
    message: `${path} was cut short to ${size} bytes while the guest ran: ${error.message}`,
    hint: 'Another process truncated it: let nobody else write to the file of --backing.',
  };
}

function crewFailure(machine: Machine, crew: Crew): RunError | null {
  if (crew.failure !== null) {
    return asRunError(crew.failure);
  }
  // The first to end is the cause; one that was told to stop may have ended badly on that account.
  const ends = [
    ...crew.vcpuFinishes.map(({ index, end, ended }) => ({
      ended,
      explain: () => explainVcpuEnd(machine, index, end),
    })),
    ...crew.handlerFinishes.map(({ end, ended }) => ({
      ended,
      explain: () => explainHandlerEnd(machine, end),
    })),
  ].sort((a, b) => a.ended - b.ended);
  for (const { explain } of ends) {
    const error = explain();
    if (error !== null) {
      return error;
    }
  }
  return null;
}

function asRunError({ code, message, hint }: ErrorReport): RunError {
  return { code, message, hint };
}

/** Why a vCPU that has ended did not end well; null if it did, or was only told to stop. */
function explainVcpuEnd(
  machine: Machine,
  index: number,
  { vcpu: end, memoryErrors }: VcpuWorkerEnd,
): RunError | null {
  switch (end.reason) {
    case 'halted':
    case 'stopped':
    case 'powered-off':
      return null;
    case 'reset':
      return {
        code: 'shutdown',
        message: `vCPU ${index} reset the machine`,
        hint: machine.config.firmware
          ? 'Firmware does that when it has found nothing to boot from, as there is no disk.'
          : 'A kernel does that when it reboots, and after a panic with panic=-1.',
      };
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
        hint: hintForShutdown(machine, memoryErrors),
      };
    case 'memory-error':
      return memoryError(
        machine,
        end.failure,
        end.gpa,
        `vCPU ${index} ${whereabouts(machine, index)}: `,
        end.emulated && machine.machineChecks !== null,
      );
    case 'failed':
      return (
        explainLostCode(machine, index) ??
        explainInstruction(machine, index, end.code) ?? {
          code: 'guest',
          message: `vCPU ${index} ${whereabouts(machine, index)}: ${end.detail}`,
          hint: '',
        }
      );
  }
}

/** An instruction that KVM could not emulate; null where it was something else. */
function explainInstruction(
  machine: Machine,
  index: number,
  code: readonly number[] | undefined,
): RunError | null {
  const who = `vCPU ${index} ${whereabouts(machine, index)}`;
  return code === undefined
    ? null
    : explainUnemulated(machine.memory, machine.vcpus[index]!, who, code);
}

/** KVM itself reads what a CPU needs to deliver an exception, and takes it for absent if it traps. */
function hintForShutdown({ delivery, image }: Machine, memoryErrors: number): string {
  if (memoryErrors > 0) {
    return 'A machine check had told it of memory that failed: a guest without a handler for vector 18 (or with CR4.MCE clear) shuts down.';
  }
  if (!delivery.trapped || image.note !== null) {
    return '';
  }
  if (image.mode === 'firmware') {
    return 'Is the file of --firmware a ROM? Its last 16 bytes are what the CPU begins with.';
  }
  if (image.mode === 'linux' || image.mode === 'pvh') {
    return 'What the kernel said before that is on its console; earlycon=uart8250,io,0x3f8 makes it speak from the beginning.';
  }
  const tables =
    image.mode === 'long'
      ? 'a table of its own that the CPU reads (page tables, GDT, IDT, TSS), or the stack of a handler, was missing: under shadow paging these'
      : 'the interrupt vectors (GPA 0 to 0x3ff), or the stack, were missing at an exception: these';
  return `If it runs under --delivery handler, ${tables} must be resident for exit delivery.`;
}

/** Code that KVM was to emulate and that failed: KVM only says that it could not. */
function explainLostCode(machine: Machine, index: number): RunError | null {
  const vcpu = machine.vcpus[index]!;
  const { cr0, cr3, csBase } = vcpu.systemRegisters();
  const isIdentity = (cr0 & X86_CR0_PG) === 0 || cr3 === PML4_ADDRESS;
  const gpa = csBase + vcpu.registers().rip;
  if (!isIdentity || gpa >= machine.memory.layout.bytes) {
    return null;
  }
  const unit = Math.floor(gpa / machine.memory.layout.unitBytes);
  const reason = machine.memory.states.reasonOf(unit);
  if (reason < 0) {
    return null;
  }
  const failure = { unit, cause: causeOf(reason), errno: errnoOf(reason) };
  const who = `vCPU ${index} ${whereabouts(machine, index)}, fetching code: `;
  return memoryError(machine, failure, gpa, who, machine.machineChecks !== null);
}

/** Why a handler ended before it was told to, or null. */
function explainHandlerEnd(machine: Machine, end: HandlerEnd): RunError | null {
  return end.reason === 'memory-error' ? fillError(machine, end.failure) : null;
}

/** Why an installer's last call failed. */
export function describeInstallFailure({ failure }: Installer): string {
  const errno = failure.errno === 0 ? '' : ` (${errnoName(failure.errno)})`;
  return `${CAUSES[failure.cause]}${errno}`;
}

function fillError(machine: Machine, failure: MemoryFailure): RunError {
  return memoryError(machine, failure, gpaOf(machine, failure), '');
}

function gpaOf({ memory }: Machine, { unit }: MemoryFailure): number {
  return unit * memory.layout.unitBytes;
}

/**
 * A unit that could not be brought in.
 *
 * @param gpa what was touched of it
 * @param untold the guest was to be told, and could not be
 */
function memoryError(
  machine: Machine,
  failure: MemoryFailure,
  gpa: number,
  who: string,
  untold = false,
): RunError {
  const { unitBytes, guestAddress } = machine.memory.layout;
  const within =
    unitBytes === 4096
      ? ''
      : `, in the fault unit of ${formatSize(unitBytes)} at ${hex(gpaOf(machine, failure))}`;
  const errno = failure.errno === 0 ? '' : ` (${errnoName(failure.errno)})`;
  const tries = 1 + machine.config.sourceRetries;
  const tried =
    failure.cause === 'source' && tries > 1 && !machine.delivery.prefilled
      ? `, tried ${tries} times`
      : '';
  return {
    code: 'memory-error',
    message: `${who}no contents for GPA ${hex(gpa)} (HVA ${hex(guestAddress + gpa)}${within}): ${CAUSES[failure.cause]}${tried}${errno}`,
    hint: untold
      ? 'KVM emulates this access and would complete it with whatever bytes: no machine check can take its place.'
      : hintFor(machine, failure),
  };
}

function hintFor({ memory, config }: Machine, { cause }: MemoryFailure): string {
  if (!memory.backing.hugetlb || !['allocate', 'map'].includes(cause)) {
    return '';
  }
  const pool = readHugetlbPool(memory.backing.pageBytes);
  const found =
    pool === null
      ? ''
      : `${pool.free} of ${pool.total} pages are free, ${pool.reserved} of them reserved. `;
  return `${found}${config.reserve ? 'Another process took pages of the hugetlb pool.' : 'Without --no-reserve the run would not have begun.'}`;
}

function whereabouts(machine: Machine, index: number): string {
  const vcpu = machine.vcpus[index]!;
  const { rip } = vcpu.codePosition();
  const { cr0, cr3, csBase } = vcpu.systemRegisters();
  const base = csBase === 0 ? '' : `CS base ${hex(csBase)}, `;
  return `at RIP ${hex(rip)} (${base}CR0 ${hex(cr0)}, CR3 ${hex(cr3)})`;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
