/**
 * faultline as a library: everything the command line does, one typed call away.
 *
 * - {@link runGuest} boots a guest on demand-paged memory: `faultline run`
 * - {@link probeHost} tells what this host can do: `faultline probe`
 * - {@link BENCHES} measure, each with its `run` and `describe`: `faultline bench`
 *
 * @packageDocumentation
 */
export type { Bench, BenchOptions, BenchResult } from '../bench/scale/bench.js';
export { type DeliveryRow, deliveries, type LabelledRun } from '../bench/scale/deliveries.js';
export { type OverheadRow, overhead, type Pair } from '../bench/scale/overhead.js';
export { BENCHES } from '../bench/scale/registry.js';
export type { OutcomeName } from './fault/outcome.js';
export type { Strategy } from './fault/resolver.js';
export type { HeapUse } from './fault/worker-control.js';
export {
  DefectError,
  type ErrorCode,
  FaultlineError,
  GuestError,
  SyscallError,
  UnsupportedError,
  UsageError,
} from './ffi/errors.js';
export { BUNDLED_GUESTS, type BundledGuest } from './machine/bundled-guests.js';
export type { DeliveryName, ReportedBy } from './machine/delivery.js';
export type { MachineConfig, Pin, Progress, RunOptions } from './machine/machine-config.js';
export { type ProbeEntry, type ProbeResult, probeHost } from './machine/probe.js';
export { runGuest } from './machine/run-guest.js';
export type * from './machine/run-result.js';
export type { Percentiles } from './measure/histogram.js';
export type { HostDescription } from './measure/host.js';
export type { BackingKind } from './memory/backing.js';
export { describeRun } from './report/run-report.js';
export type { SourceSpec } from './source/open-source.js';
