/** What guest memory holds, and what its source supplies, byte by byte. */
import { type GuestAccess, openAccess } from '../../src/memory/guest-access.js';
import type { GuestMemory } from '../../src/memory/guest-memory.js';
import { MAPPED } from '../../src/memory/page-states.js';
import { DEFAULT_SEED } from '../../src/source/open-source.js';
import { PATTERN_STEP, patternBase } from '../../src/source/pattern-source.js';

/** Of the default source, at an address that no image lies at. */
export function expectedByte(address: number): number {
  const word = Math.floor((address % 4096) / 4);
  const value =
    patternBase(Math.floor(address / 4096), DEFAULT_SEED) + Math.imul(word, PATTERN_STEP);
  return (value >> ((address % 4) * 8)) & 0xff;
}

/** Looks at the memory of a guest that has ended. Opening costs; looking does not. */
export class GuestBytes {
  private readonly access: GuestAccess;
  private readonly memory: GuestMemory;

  constructor(memory: GuestMemory) {
    this.memory = memory;
    this.access = openAccess(memory.layout);
  }

  /** Of units that are mapped. */
  read(address: number, length: number): Uint8Array {
    return this.access.read(address, length);
  }

  /** Null where the unit is missing. */
  at(address: number): number | null {
    const { states, layout } = this.memory;
    const isMapped = states.stateOf(Math.floor(address / layout.unitBytes)) === MAPPED;
    return isMapped ? this.read(address, 1)[0]! : null;
  }
}
