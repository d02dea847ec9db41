import { constants } from 'node:os';

/**
 * What went wrong, for a program: `usage` (the arguments cannot be used), `unsupported` (this host
 * lacks what was asked for), `syscall` (a call failed that should not have), `guest` (the guest or
 * its image did something impossible), `defect` (a broken invariant of ours).
 */
export type ErrorCode = 'usage' | 'unsupported' | 'syscall' | 'guest' | 'defect';

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

/** An invariant of ours is broken. */
export class DefectError extends FaultlineError {
  constructor(message: string, hint = 'Please report it.', options?: ErrorOptions) {
    super('defect', message, hint, options);
  }
}

/** A system call failed. `errno` is the positive error number. */
export class SyscallError extends FaultlineError {
  readonly call: string;
  readonly errno: number;

  constructor(call: string, errno: number, hint = '') {
    super('syscall', `${call} failed: ${errnoName(errno)}`, hint);
    this.call = call;
    this.errno = errno;
  }
}

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

/** Flattens anything thrown. What is not ours is a defect. */
export function reportOf(error: unknown): ErrorReport {
  if (error instanceof FaultlineError) {
    return { code: error.code, message: error.message, hint: error.hint, stack: error.stack };
  }
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? error.stack : undefined;
  return { code: 'defect', message, hint: 'Please report it.', stack };
}
