import { WINDOW_BYTES } from '../ffi/view.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { MAPPED } from '../memory/page-states.js';
import type { PageSource } from '../source/page-source.js';

/** Between looks at whether to go on: some ten milliseconds' work. */
const STEP_BYTES = 16 * 2 ** 20;

/**
 * Puts every missing unit into the page cache, from the source, through the alias mapping. The
 * guest mapping still has none of them: the kernel maps them when the guest touches them.
 *
 * @param goOn asked every now and then; false leaves the rest missing
 */
export async function fillMissing(
  memory: GuestMemory,
  source: PageSource,
  goOn: () => Promise<boolean>,
): Promise<void> {
  const { unitBytes } = memory.layout;
  const { words: states } = memory.states;
  const unitsPerStep = Math.max(1, STEP_BYTES / unitBytes);
  for (let unit = 0; unit < states.length; unit++) {
    if (unit % unitsPerStep === 0 && !(await goOn())) {
      return;
    }
    if (states[unit] !== MAPPED) {
      const start = unit * unitBytes;
      const window = memory.alias.words[Math.floor(start / WINDOW_BYTES)]!;
      source.fill(start / 4096, window, (start % WINDOW_BYTES) / 4, unitBytes / 4);
      states[unit] = MAPPED;
    }
  }
}
