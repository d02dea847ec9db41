/**
 * How a fault ended: a closed union, whose names are also the labels in every report.
 *
 * - `installed`: the page was filled and mapped
 * - `present`: somebody else had mapped it meanwhile; nothing to do
 * - `populated`: mapped before, taken away by the kernel, brought back by MADV_POPULATE_WRITE
 * - `remapped`: in the page cache all along, but the kernel had dropped the page table entry
 *   (collapse, reclaim); mapped again
 * - `retried`: nothing was resolved and nothing is wrong; the access is simply made again
 * - `memory-error`: its contents cannot be had
 */
export const OUTCOMES = [
  'installed',
  'present',
  'populated',
  'remapped',
  'retried',
  'memory-error',
] as const;

export type OutcomeName = (typeof OUTCOMES)[number];

/**
 * What a thread counts while it runs, as doubles in shared memory: one writer per row, read by the
 * main thread at any time. A double is exact to 2^53 and costs no allocation to add to.
 */
export const COUNTERS = [
  /** KVM_RUN calls that returned. */
  'kvmRuns',
  /** Missing pages that reached this thread. */
  'faults',
  /** System calls made by the loop, KVM_RUN included. */
  'syscalls',
  ...OUTCOMES,
  /** Units that came in with another's fault: fault-around. */
  'neighbours',
  /** Faults that KVM_EXIT_MEMORY_FAULT gave the address of. */
  'memoryFaultExits',
  /** In-RAM MMIO exits, served by us. */
  'ramAccesses',
  /** Port I/O exits. */
  'portAccesses',
  /** Messages to the main thread, about the console. */
  'messages',
] as const;

export type CounterName = (typeof COUNTERS)[number];

const index = (name: CounterName): number => COUNTERS.indexOf(name);

export const KVM_RUNS = index('kvmRuns');
export const FAULTS = index('faults');
export const SYSCALLS = index('syscalls');
/** The outcome counters follow, in the order of {@link OUTCOMES}. */
export const FIRST_OUTCOME = index(OUTCOMES[0]);
export const MEMORY_FAULT_EXITS = index('memoryFaultExits');
export const NEIGHBOURS = index('neighbours');
export const RAM_ACCESSES = index('ramAccesses');
export const PORT_ACCESSES = index('portAccesses');
export const MESSAGES = index('messages');

/**
 * Bytes of one thread's row. A line is left between rows, for a SharedArrayBuffer may start in the
 * middle of one: threads never write to the same cache line.
 */
export const COUNTER_ROW_BYTES = Math.ceil((COUNTERS.length * 8) / 64) * 64 + 64;

/** One thread's row. */
export function counterRow(buffer: SharedArrayBuffer, thread: number): Float64Array {
  return new Float64Array(buffer, thread * COUNTER_ROW_BYTES, COUNTERS.length);
}

/** Rows by name. */
export function readCounters(row: Float64Array): Record<CounterName, number> {
  return Object.fromEntries(COUNTERS.map((name, at) => [name, row[at]!])) as Record<
    CounterName,
    number
  >;
}
