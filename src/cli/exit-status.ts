import type { ErrorCode } from '../ffi/errors.js';
import type { RunResult } from '../machine/run-result.js';

/** Exit statuses: scripts depend on them. */
export const STATUS = {
  completed: 0,
  /** The guest did not complete, or its memory did not verify. */
  failed: 1,
  usage: 2,
  unsupported: 3,
  defect: 4,
  timeout: 124,
} as const;

/** Of an error that kept a command from its result. */
export function statusOfError(code: ErrorCode): number {
  switch (code) {
    case 'usage':
      return STATUS.usage;
    case 'unsupported':
      return STATUS.unsupported;
    case 'guest':
    case 'interrupted':
      return STATUS.failed;
    case 'syscall':
    case 'defect':
      return STATUS.defect;
  }
}

export function statusOfRun({ outcome, error }: RunResult): number {
  if (outcome === 'completed') {
    return STATUS.completed;
  }
  if (outcome === 'timeout') {
    return STATUS.timeout;
  }
  switch (error?.code) {
    case 'usage':
    case 'unsupported':
    case 'syscall':
    case 'defect':
      return statusOfError(error.code);
    default:
      return STATUS.failed;
  }
}
