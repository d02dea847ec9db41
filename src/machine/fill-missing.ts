import type { Installer } from '../fault/installer.js';
import { MEMORY_ERROR } from '../fault/outcome.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { MAPPED } from '../memory/page-states.js';

/** Between looks at whether to go on: some ten milliseconds' work. */
const STEP_BYTES = 16 * 2 ** 20;

/**
 * Puts every missing unit into memory, from the source: into the page cache, from which the kernel
 * maps it when the guest touches it, or, of memory without one, into the guest mapping itself.
 *
 * @param goOn asked every now and then; false leaves the rest missing
 * @returns the unit whose contents could not be had, or null
 */
export async function fillMissing(
  memory: GuestMemory,
  installer: Installer,
  goOn: () => Promise<boolean>,
): Promise<number | null> {
  const { unitBytes } = memory.layout;
  const { words: states } = memory.states;
  const unitsPerStep = Math.max(1, STEP_BYTES / unitBytes);
  for (let unit = 0; unit < states.length; unit++) {
    if (unit % unitsPerStep === 0 && !(await goOn())) {
      return null;
    }
    if (states[unit] !== MAPPED) {
      if (!installer.fill(unit, 1) || installer.map(unit, 1) === MEMORY_ERROR) {
        return unit;
      }
      states[unit] = MAPPED;
    }
  }
  return null;
}
