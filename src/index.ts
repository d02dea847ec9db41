/**
 * faultline as a library: everything the command line does, one typed call away.
 *
 * @packageDocumentation
 */
export {
  type ErrorCode,
  FaultlineError,
  SyscallError,
  UnsupportedError,
  UsageError,
} from './ffi/errors.js';
export { BUNDLED_GUESTS, type BundledGuest } from './machine/bundled-guests.js';
export type { Pin, Progress, RunOptions } from './machine/machine-config.js';
export { runGuest } from './machine/run-guest.js';
export type * from './machine/run-result.js';
