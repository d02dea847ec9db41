import { UsageError } from '../ffi/errors.js';
import { formatSize } from '../memory/sizes.js';
import { nameOfFault, type SourceFault } from '../source/faulty-source.js';
import type { Network } from '../source/network-link.js';
import type { ContentsSpec } from '../source/open-source.js';

const MAX_SOURCE_RETRIES = 1000;
/** A page takes half a minute: slower than anything that memory would be brought in over. */
const LEAST_BITS_PER_SECOND = 1000;
const MOST_BITS_PER_SECOND = 1e15;
const MOST_LATENCY_MICROSECONDS = 60_000_000;
/** As long as the longest timeout. */
const MOST_DELAY_MILLISECONDS = 2_000_000_000;

/** @throws UsageError for a seed that is none */
export function checkSource(source: ContentsSpec): ContentsSpec {
  if (source.kind === 'pattern' && source.seed !== source.seed >>> 0) {
    throw new UsageError(`--source pattern:${source.seed} has a seed that is no 32-bit number`);
  }
  return source;
}

/** @throws UsageError for a rate or latency that cannot be meant */
export function checkNetwork(network: Network | null): Network | null {
  if (network === null) {
    return null;
  }
  const { bitsPerSecond, latencyMicroseconds } = network;
  if (!(bitsPerSecond >= LEAST_BITS_PER_SECOND && bitsPerSecond <= MOST_BITS_PER_SECOND)) {
    throw new UsageError(
      `--network ${bitsPerSecond} is not a rate from ${LEAST_BITS_PER_SECOND} to ${MOST_BITS_PER_SECOND} bit/s`,
    );
  }
  if (!(latencyMicroseconds >= 0 && latencyMicroseconds <= MOST_LATENCY_MICROSECONDS)) {
    throw new UsageError(
      `--network has a latency of ${latencyMicroseconds} µs, which is not from 0 to ${MOST_LATENCY_MICROSECONDS}`,
    );
  }
  return { bitsPerSecond, latencyMicroseconds };
}

/** @throws UsageError for a fault that cannot happen */
export function checkFault(fault: SourceFault, memoryBytes: number): void {
  const name = `--fail-source ${nameOfFault(fault)}`;
  if ('address' in fault && !(fault.address >= 0 && fault.address < memoryBytes)) {
    throw new UsageError(`${name} is no address of the guest's ${formatSize(memoryBytes)}`);
  }
  const counts =
    fault.kind === 'every' ? [fault.requests, fault.times] : 'times' in fault ? [fault.times] : [];
  if (counts.some((count) => count !== null && !(Number.isInteger(count) && count >= 1))) {
    throw new UsageError(`${name} counts in whole numbers from 1 on`);
  }
  if (
    fault.kind === 'delay' &&
    !(fault.milliseconds >= 0 && fault.milliseconds <= MOST_DELAY_MILLISECONDS)
  ) {
    throw new UsageError(`${name} is not from 0 to ${MOST_DELAY_MILLISECONDS} milliseconds`);
  }
}

/** @throws UsageError */
export function checkRetries(retries: number): number {
  if (!Number.isInteger(retries) || retries < 0 || retries > MAX_SOURCE_RETRIES) {
    throw new UsageError(
      `--source-retries ${retries} is not a whole number from 0 to ${MAX_SOURCE_RETRIES}`,
    );
  }
  return retries;
}

/** @throws UsageError for a delay that cannot be meant */
export function checkDelay(microseconds: number): void {
  if (!(microseconds >= 0 && microseconds <= MOST_LATENCY_MICROSECONDS)) {
    throw new UsageError(
      `--delay-microseconds ${microseconds} is not from 0 to ${MOST_LATENCY_MICROSECONDS}`,
    );
  }
}
