import { WINDOW_BYTES } from '../ffi/view.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { MAPPED } from '../memory/page-states.js';
import type { PageSource } from '../source/page-source.js';
import type { Workload } from './bundled-guests.js';

export interface Verification {
  /** Resident pages compared word by word, the image's own left out. */
  readonly pages: number;
  /** Those of them that the guest touches and that were right. */
  readonly touchedAndRight: number;
  readonly mismatched: number;
  /** GPA of the first wrong word, or null. */
  readonly firstMismatch: number | null;
}

/** Between looks at whether to go on: some ten milliseconds' work. */
const PAGES_PER_STEP = 4096;

/**
 * Compares every page that the run brought in with what it must contain now, through the alias
 * mapping. No vCPU may be running.
 *
 * @param goOn asked every now and then; false ends it
 * @returns null for a workload whose memory is not known, or when ended
 */
export async function verifyMemory(
  memory: GuestMemory,
  imagePages: ReadonlySet<number>,
  source: PageSource,
  workload: Pick<Workload, 'touches' | 'contents'>,
  goOn: () => Promise<boolean>,
): Promise<Verification | null> {
  const { touches, contents } = workload;
  if (contents === null) {
    return null;
  }
  const pagesPerUnit = memory.layout.unitBytes / 4096;
  const { states, alias } = memory;
  let pages = 0;
  let touchedAndRight = 0;
  let mismatched = 0;
  let firstMismatch: number | null = null;
  for (let page = 0; page < memory.layout.bytes / 4096; page++) {
    if (page % PAGES_PER_STEP === 0 && !(await goOn())) {
      return null;
    }
    if (states.words[Math.floor(page / pagesPerUnit)] !== MAPPED || imagePages.has(page)) {
      continue;
    }
    const address = page * 4096;
    const window = alias.words[Math.floor(address / WINDOW_BYTES)]!;
    const expected = contents(page) ?? source;
    const wrong = expected.compare(page, window, (address % WINDOW_BYTES) / 4);
    pages++;
    if (wrong >= 0) {
      mismatched++;
      firstMismatch ??= address + wrong * 4;
    } else if (touches(page)) {
      touchedAndRight++;
    }
  }
  return { pages, touchedAndRight, mismatched, firstMismatch };
}
