import { constants } from 'node:os';
import { inspect } from 'node:util';

/**
 * What went wrong, for a program: `usage` (the arguments cannot be used), `unsupported` (this host
 * lacks what was asked for), `syscall` (a call failed that should not have), `guest` (the guest or
 * its image did something impossible), `interrupted` (by the caller), `defect` (a broken invariant of
 * ours).
 */
export type ErrorCode = 'usage' | 'unsupported' | 'syscall' | 'guest' | 'interrupted' | 'defect';

/** Every error thrown on purpose: one sentence, and a hint at what to do about it. */
export class FaultlineError extends Error {
  readonly code: ErrorCode;
  /** What to do about it, as an imperative; empty when nothing can be said. */
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint = '', options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.hint = hint;
  }
}

/** The caller's arguments cannot be used. */
export class UsageError extends FaultlineError {
  constructor(message: string, hint = '', options?: ErrorOptions) {
    super('usage', message, hint, options);
  }
}

/** This host (kernel, permission, size) lacks what was asked for. */
export class UnsupportedError extends FaultlineError {
  constructor(message: string, hint = '', options?: ErrorOptions) {
    super('unsupported', message, hint, options);
  }
}

/** The guest or its image did something that cannot be carried on from. */
export class GuestError extends FaultlineError {
  constructor(message: string, hint = '', options?: ErrorOptions) {
    super('guest', message, hint, options);
  }
}

/** The caller did not want it any more. */
export class InterruptedError extends FaultlineError {
  constructor(message: string) {
    super('interrupted', message);
  }
}

/** An invariant of ours is broken. */
export class DefectError extends FaultlineError {
  constructor(message: string, hint = 'Please report it.', options?: ErrorOptions) {
    super('defect', message, hint, options);
  }
}

/**
 * A system call failed. `errno` is the positive error number; one that says that this host has not
 * enough of something, or does not allow it, makes the code `unsupported`.
 */
export class SyscallError extends FaultlineError {
  readonly call: string;
  readonly errno: number;

  constructor(call: string, errno: number, hint = '') {
    const lack = LACKS[errnoName(errno)];
    super(
      lack === undefined ? 'syscall' : 'unsupported',
      `${call} failed: ${errnoName(errno)}`,
      hint || lack,
    );
    this.call = call;
    this.errno = errno;
  }
}

/** Errors that a host makes and not a program, and what to do about them. */
const LACKS: Readonly<Record<string, string>> = {
  EACCES: 'Run as root, or get the permission for it.',
  EDQUOT: 'Raise the quota, or ask for less.',
  EMFILE: 'Raise the limit of open files (ulimit -n).',
  ENFILE: 'The system is out of open files (sysctl fs.file-max).',
  ENODEV: 'Its device or driver is not there, or not any more.',
  ENOMEM: 'Ask for less memory, or raise the limit of address space (ulimit -v).',
  ENOSPC: 'Make room on the file system, or ask for less.',
  ENOSYS: 'Use a newer kernel.',
  ENXIO: 'Its device or driver is not there, or not any more.',
  EPERM: 'Run as root, or get the permission for it.',
};

// Backwards, so that of two names for a number the first one stays: EAGAIN, not EWOULDBLOCK.
const names = new Map(
  Object.entries(constants.errno)
    .reverse()
    .map(([name, value]) => [value, name]),
);
names.set(133, 'EHWPOISON'); // absent from node:os

/** `EEXIST` for 17; the number itself for one without a name. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

/** What workers send to the main thread in place of an error, and the JSON of a run shows. */
export interface ErrorReport {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  readonly stack?: string | undefined;
}

/**
 * What this host lacks, for want of which a file could not be opened that is there and may be opened;
 * null for any other error. `name` is an errno's.
 */
export function scarcity(name: string | undefined): string | null {
  const scarce = name === 'EMFILE' || name === 'ENFILE' || name === 'ENOMEM' || name === 'ENOSPC';
  return scarce ? (LACKS[name] ?? null) : null;
}

/** Flattens anything thrown. What is not ours is a defect, unless it is something this host lacks. */
export function reportOf(error: unknown): ErrorReport {
  if (error instanceof FaultlineError) {
    return { code: error.code, message: error.message, hint: error.hint, stack: error.stack };
  }
  const lack =
    error instanceof Error ? LACKS[(error as NodeJS.ErrnoException).code ?? ''] : undefined;
  const message = error instanceof Error ? String(error.message) : describeThrown(error);
  const stack = error instanceof Error ? error.stack : undefined;
  return lack === undefined
    ? { code: 'defect', message, hint: 'Please report it.', stack }
    : { code: 'unsupported', message, hint: lack, stack };
}

/** Anything at all, also what cannot be made a string of. */
function describeThrown(thrown: unknown): string {
  return Object(thrown) === thrown
    ? inspect(thrown, { depth: 0, breakLength: Number.POSITIVE_INFINITY, customInspect: false })
    : String(thrown);
}
