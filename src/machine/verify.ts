import { SyscallError } from '../ffi/errors.js';
import { type GuestAccess, openAccess } from '../memory/guest-access.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { MAPPED, MISSING, POISONED } from '../memory/page-states.js';
import { type PageSource, WORDS_PER_PAGE } from '../source/page-source.js';
import type { Workload } from './bundled-guests.js';

export interface Verification {
  /** Resident pages compared word by word, the image's own left out. */
  readonly pages: number;
  /** Those of them that the guest touches and that were right. */
  readonly touchedAndRight: number;
  /** Pages that the guest touched and that were discarded since; null where nothing is discarded. */
  readonly touchedAndMissing: number | null;
  /** Pages that the guest touches and whose contents could not be had. */
  readonly touchedAndPoisoned: number;
  readonly mismatched: number;
  /** GPA of the first wrong word, or null. */
  readonly firstMismatch: number | null;
}

/** Between looks at whether to go on: some ten milliseconds' work. */
const PAGES_PER_STEP = 4096;

/**
 * Compares every page that the run brought in with what it must contain now. No vCPU may be
 * running.
 *
 * @param workload what memory must contain; of a guest that ended early, any word that it was to
 * write may be written or not
 * @param discards whether pages were discarded while the guest ran
 * @param goOn asked every now and then; false ends it
 * @returns null for a workload whose memory is not known, or when ended
 */
export async function verifyMemory(
  memory: GuestMemory,
  imagePages: ReadonlySet<number>,
  source: PageSource,
  workload: Pick<Workload, 'touches' | 'contents'> & { readonly endedEarly?: boolean },
  discards: boolean,
  goOn: () => Promise<boolean>,
): Promise<Verification | null> {
  const { touches, contents, endedEarly = false } = workload;
  if (contents === null) {
    return null;
  }
  const pagesPerUnit = memory.layout.unitBytes / 4096;
  const { states } = memory;
  const access = openAccess(memory.layout);
  let pages = 0;
  let touchedAndRight = 0;
  let touchedAndMissing = 0;
  let touchedAndPoisoned = 0;
  let mismatched = 0;
  let firstMismatch: number | null = null;
  for (let page = 0; page < memory.layout.bytes / 4096; page++) {
    if (page % PAGES_PER_STEP === 0 && !(await goOn())) {
      return null;
    }
    const state = states.stateOf(Math.floor(page / pagesPerUnit));
    if (discards && state === MISSING && touches(page)) {
      touchedAndMissing++;
    }
    if (state === POISONED && touches(page)) {
      touchedAndPoisoned++;
    }
    if (state !== MAPPED || imagePages.has(page)) {
      continue;
    }
    const written = contents(page);
    const wanted =
      written !== null && endedEarly ? new EitherSource(source, written) : (written ?? source);
    const wrong = firstWrong(access, page, wanted);
    pages++;
    if (wrong >= 0) {
      mismatched++;
      firstMismatch ??= page * 4096 + wrong * 4;
    } else if (touches(page)) {
      touchedAndRight++;
    }
  }
  return {
    pages,
    touchedAndRight,
    touchedAndMissing: discards ? touchedAndMissing : null,
    touchedAndPoisoned,
    mismatched,
    firstMismatch,
  };
}

/** Each word is that of one source or of the other. */
class EitherSource implements Pick<PageSource, 'compare'> {
  constructor(
    private readonly one: PageSource,
    private readonly other: PageSource,
  ) {}

  compare(pageNumber: number, words: Int32Array, first: number): number {
    const [ones, others] = [this.one, this.other].map((source) => {
      const page = new Int32Array(WORDS_PER_PAGE);
      source.fill(pageNumber, page, 0, WORDS_PER_PAGE);
      return page;
    });
    return words
      .subarray(first, first + WORDS_PER_PAGE)
      .findIndex((word, index) => word !== ones![index] && word !== others![index]);
  }
}

/** The index of a page's first wrong word, or -1. A page that is not there any more is all wrong. */
function firstWrong(
  access: GuestAccess,
  page: number,
  wanted: Pick<PageSource, 'compare'>,
): number {
  try {
    const { words, first } = access.view(page);
    return wanted.compare(page, words, first);
  } catch (error) {
    if (error instanceof SyscallError) {
      return 0;
    }
    throw error;
  }
}
