/**
 * faultline as a library: everything the command line does, one typed call away.
 *
 * - {@link runGuest} boots a guest on demand-paged memory: `faultline run`
 * - {@link probeHost} tells what this host can do: `faultline probe`
 * - {@link GuestMemory}, {@link createResolver}, {@link createDiscard}: the memory backend alone
 * - {@link discardMatrix} tries every way of throwing memory away: `faultline matrix discard`
 * - {@link BENCHES} measure, each with its `run` and `describe`: `faultline bench`; {@link runAll} does
 *   all of them in brief
 * - {@link fitScaling} fits the Universal Scalability Law to a curve, also to one of others
 *
 * @packageDocumentation
 */
export { describeAll, runAll } from '../bench/scale/all.js';
export type { Bench, BenchOptions } from '../bench/scale/bench.js';
export { type ContentionRun, contention } from '../bench/scale/contention.js';
export { deliveries } from '../bench/scale/deliveries.js';
export { type FaultsRun, faults } from '../bench/scale/faults.js';
export { micro } from '../bench/scale/micro.js';
export { overhead } from '../bench/scale/overhead.js';
export { BENCHES } from '../bench/scale/registry.js';
export { units } from '../bench/scale/units.js';
export type { AroundPolicy } from './fault/around.js';
export { UNTIMED } from './fault/fault-timing.js';
export type { OutcomeName } from './fault/outcome.js';
export {
  createResolver,
  type Resolver,
  type ResolverOptions,
} from './fault/resolver.js';
export type { Strategy } from './fault/revisit.js';
export type { HeapUse } from './fault/worker-control.js';
export {
  DefectError,
  type ErrorCode,
  FaultlineError,
  GuestError,
  InterruptedError,
  SyscallError,
  UnsupportedError,
  UsageError,
} from './ffi/errors.js';
export { BUNDLED_GUESTS, type BundledGuest } from './machine/bundled-guests.js';
export type { DeliveryName, ReportedBy } from './machine/delivery.js';
export type {
  Background,
  LoadPolicy,
  MachineConfig,
  Pin,
  Progress,
  RunOptions,
} from './machine/machine-config.js';
export { type ProbeEntry, type ProbeResult, probeHost } from './machine/probe.js';
export { listRefusals, type Refusal, whyRefused } from './machine/refusals.js';
export { runGuest } from './machine/run-guest.js';
export type * from './machine/run-result.js';
export type { Writers } from './machine/writers.js';
export type { Percentiles } from './measure/histogram.js';
export type { HostDescription } from './measure/host.js';
export { isDisturbed } from './measure/other-load.js';
export { publishedCurves, REFERENCES } from './measure/published-curves.js';
export {
  type Coefficient,
  fitScaling,
  type ScalingFit,
  type ScalingPoint,
} from './measure/scaling-law.js';
export {
  BACKINGS,
  type Backing,
  type BackingKind,
  type BackingName,
  type BackingTraits,
} from './memory/backing.js';
export { type Collapsed, collapseBlock } from './memory/collapse.js';
export {
  createDiscard,
  type Discard,
  type DiscardContext,
  type Discarded,
  type DiscardOptions,
} from './memory/discard.js';
export { type DiscardMatrix, discardMatrix } from './memory/discard-matrix/discard-matrix.js';
export { type GuestAccess, openAccess } from './memory/guest-access.js';
export {
  GuestMemory,
  type GuestMemoryLayout,
  type GuestMemoryOptions,
  type HugetlbReport,
} from './memory/guest-memory.js';
export type { HugetlbPool } from './memory/hugetlb-pool.js';
export { findBacking } from './memory/open-backing.js';
export { type Trap, trapMissing } from './memory/trap.js';
export type { BenchResult, BenchSet, Figure, LatencyHistogram } from './report/bench-result.js';
export type {
  CallLocks,
  ContentionRow,
  ContentionSummary,
  LockShare,
  ThreadShare,
} from './report/contention-result.js';
export type { DeliveryRow, LabelledRun } from './report/deliveries-result.js';
export type * from './report/faults-result.js';
export { describeDiscardMatrix } from './report/matrix-report.js';
export type { MicroFigure } from './report/micro-result.js';
export type { OverheadRow, Pair } from './report/overhead-result.js';
export { describeRun } from './report/run-report.js';
export type { UnitRun, UnitsRow, UnitsSummary } from './report/units-result.js';
export type { SourceFault } from './source/faulty-source.js';
export type { Network } from './source/network-link.js';
export type { ContentsSpec } from './source/open-source.js';
export type { SourceTally } from './source/source-control.js';
