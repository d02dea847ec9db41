/** What must be true of a guest that has ended, whatever it did. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import type { Machine } from '../../src/machine/machine.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { PM_PRESENT, PM_SWAP } from '../../src/uapi/pagemap.js';
import type { VcpuEnd } from '../../src/vcpu/run-loop.js';
import { checkSentence } from './complaints.js';
import type { GuestEnd } from './guest-bed.js';

const PAGE = 4096;

const END_REASONS: readonly VcpuEnd['reason'][] = [
  'exited',
  'halted',
  'shutdown',
  'stopped',
  'powered-off',
  'reset',
  'failed',
];

/** The end is one that a guest can cause, and the error says which. */
export function checkEnd({ end, error }: GuestEnd, judgesItself: boolean): void {
  const detail = JSON.stringify({ end, error });
  assert(END_REASONS.includes(end.reason), detail);
  const ended = ['halted', 'stopped', 'powered-off'].includes(end.reason);
  const succeeded = end.reason === 'exited' && (end.code === 0 || judgesItself);
  assert.equal(error === null, ended || succeeded, detail);
  if (error !== null) {
    assert(['guest', 'shutdown'].includes(error.code), detail);
    checkSentence(error.message);
  }
  // What only we, or the kernel, can be to blame for.
  assert(end.reason !== 'failed' || !/KVM_RUN failed/.test(end.detail), detail);
}

/** Low bits of a swapped or marked page's entry in /proc/self/pagemap. */
const SWAP_TYPE = 0x1fn;

/**
 * The guest mapping traps what the page states call missing, and nothing else; nothing is claimed.
 * A mapped page may be on its way elsewhere (swap, migration), which looks much like a marker.
 */
export function checkStates({ memory, trap }: Machine): void {
  if (!trap?.marked) {
    return;
  }
  const { bytes, unitBytes, guestAddress } = memory.layout;
  const entries = new BigUint64Array(bytes / PAGE);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  readSync(pagemap, entries, 0, entries.byteLength, (guestAddress / PAGE) * 8);
  closeSync(pagemap);
  const pagesPerUnit = unitBytes / PAGE;
  const swapTypes = { [MISSING]: new Set<bigint>(), [MAPPED]: new Set<bigint>() };
  for (let page = 0; page < entries.length; page++) {
    const state = memory.states.words[Math.floor(page / pagesPerUnit)]!;
    const entry = entries[page]!;
    const detail = `page ${page} is in state ${state}, its entry is 0x${entry.toString(16)}`;
    assert(state === MISSING || state === MAPPED, detail);
    const isSwap = (entry & BigInt(PM_PRESENT)) === 0n && (entry & BigInt(PM_SWAP)) !== 0n;
    assert(state === MAPPED || isSwap, detail);
    if (isSwap) {
      swapTypes[state].add(entry & SWAP_TYPE);
    }
  }
  const [marker] = swapTypes[MISSING];
  assert(swapTypes[MISSING].size <= 1, 'missing pages are marked and not swapped');
  assert(marker === undefined || !swapTypes[MAPPED].has(marker), 'a mapped page traps');
}
