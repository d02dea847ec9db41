import { FaultlineError } from '../../ffi/errors.js';

/** Something that could not be tried or seen, and why. */
export interface Note {
  readonly what: string;
  readonly why: string;
  /** What to do about it; null where there is nothing. */
  readonly hint: string | null;
}

/** Collects notes; each is kept once. */
export class Notes {
  private readonly notes = new Map<string, Note>();

  get all(): readonly Note[] {
    return [...this.notes.values()];
  }

  add(what: string, why: string, hint = ''): void {
    this.notes.set(`${what}\n${why}`, { what, why, hint: hint === '' ? null : hint });
  }

  /** The result of `work`; null, and a note, where this host lacks something for it. */
  attempt<Result>(what: string, work: () => Result): Result | null {
    try {
      return work();
    } catch (error) {
      if (error instanceof FaultlineError && error.code !== 'defect') {
        this.add(what, error.message, error.hint);
        return null;
      }
      throw error;
    }
  }

  /** Whether a control shows what it should; a note if not. */
  control(what: string, work: () => boolean): boolean {
    const shown = this.attempt(what, work);
    if (shown === false) {
      this.add(what, 'this kernel does not show them even where no call is made');
    }
    return shown === true;
  }
}
