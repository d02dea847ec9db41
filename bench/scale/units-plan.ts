import { chooseDelivery } from '../../src/machine/delivery.js';
import { WORKLOAD_START } from '../../src/machine/guest-physical-map.js';
import { whyRefused } from '../../src/machine/refusals.js';
import type { Backing, BackingName } from '../../src/memory/backing.js';
import { availablePages, readHugetlbPool } from '../../src/memory/hugetlb-pool.js';
import { findBacking } from '../../src/memory/open-backing.js';
import type { Access, LeftOut, Subject } from '../../src/report/units-result.js';
import type { Network } from '../../src/source/network-link.js';
import { memoryFor } from './verified-run.js';
import { whyNoMemory } from './why-no-memory.js';

/** Sparse: one page in so many. */
export const SPARSE_EVERY = 64;

const MOST_MEMORY_BYTES = memoryFor((256 * 2 ** 20) / 4096);
/** Units that the smallest run brings in. */
const LEAST_UNITS = 4;
/** What a run aims at; the slowest network needs more for its least units. */
const GUEST_MICROSECONDS = 250_000;
// What a fault and a page cost besides the network, roughly: they only decide how long a run is.
const FAULT_MICROSECONDS = 100;
const FILL_MICROSECONDS = 3;
const TOUCH_MICROSECONDS = 5;

/** What of a kind of memory can be measured here, or why nothing. */
export function subjectOf(backing: BackingName, units: readonly number[]): Subject | LeftOut {
  const found = findBacking(backing);
  const { delivery, why } = chooseDelivery(found);
  if (!delivery.trapped && !delivery.handled) {
    return { backing, reason: why };
  }
  const whyNot = (unitBytes: number): string | null =>
    whyRefused(found, { unitBytes, delivery: delivery.name })?.reason ?? null;
  const possible = units.filter((unitBytes) => whyNot(unitBytes) === null);
  const refusal = units.map(whyNot).find((reason) => reason !== null) ?? null;
  const reason =
    possible.length === 0
      ? refusal
      : whyNoMemory(
          found,
          memoryFor((LEAST_UNITS * Math.max(...possible)) / 4096),
          MOST_MEMORY_BYTES,
        );
  return reason === null
    ? { backing, delivery: delivery.name, units: possible, refusal, roomBytes: roomFor(found) }
    : { backing, reason };
}

function roomFor({ hugetlb, pageBytes }: Backing): number {
  const pool = hugetlb ? readHugetlbPool(pageBytes) : null;
  return pool === null
    ? MOST_MEMORY_BYTES
    : Math.min(MOST_MEMORY_BYTES, availablePages(pool) * pageBytes);
}

/** Pages to touch, so that a run is long enough to be measured and no longer. */
export function pagesFor(
  { roomBytes }: Subject,
  access: Access,
  unitBytes: number,
  { bitsPerSecond, latencyMicroseconds }: Network,
): number {
  const pagesPerUnit = unitBytes / 4096;
  const every = access === 'dense' ? 1 : SPARSE_EVERY;
  const touchedPerUnit = Math.max(1, pagesPerUnit / every);
  const microsecondsPerUnit =
    latencyMicroseconds +
    (unitBytes * 8e6) / bitsPerSecond +
    FAULT_MICROSECONDS +
    pagesPerUnit * FILL_MICROSECONDS +
    touchedPerUnit * TOUCH_MICROSECONDS;
  const room = (roomBytes - WORKLOAD_START) / (touchedPerUnit * every * 4096);
  const wanted = Math.round(GUEST_MICROSECONDS / microsecondsPerUnit);
  return Math.min(Math.max(LEAST_UNITS, wanted), Math.floor(room)) * touchedPerUnit;
}
