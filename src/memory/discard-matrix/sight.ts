import type { CallThread } from './call-thread.js';
import type { DiscardCall } from './calls.js';
import {
  type FaultKind,
  observeFault,
  observePoison,
  observeProtection,
  observeRemoveEvent,
  type ProtectedPage,
  type Treatment,
  untreated,
} from './experiments.js';
import type { Lock } from './lock.js';
import type { Notes } from './notes.js';
import type { Subject } from './subjects.js';

/** A fault that userfaultfd reports; `none`: there is none. */
export type NextTouch = FaultKind | 'none';

/** What is seen of a call through userfaultfd. Null: it cannot be seen here. */
export interface SeenByUserfaultfd {
  /** What the next touch of the page with data is. */
  readonly nextTouch: NextTouch | null;
  /** The same where only the guest has the page and its file has none: of private mappings of a file. */
  readonly nextTouchFileEmpty: NextTouch | null;
  /** Whether the poison marker of a page that was never mapped is still there. */
  readonly poisonKept: boolean | null;
  /** Whether the write-protection of a page that was never mapped is still there. */
  readonly unmappedProtectionKept: boolean | null;
  /** Whether that of the page with data is. */
  readonly presentProtectionKept: boolean | null;
  /** Whether UFFD_EVENT_REMOVE was delivered, for just the range of the call. */
  readonly removeEvent: boolean | null;
}

/** A question about one kind of memory, asked under a treatment. */
type Experiment = (treat: Treatment) => boolean;

type FaultExperiments = Readonly<Record<FaultKind, Experiment | null>>;

/** The experiments that show something of one kind of memory: those whose controls do. */
export class Sight {
  readonly subject: Subject;
  readonly lock: Lock;
  private readonly notes: Notes;
  private readonly faults: FaultExperiments;
  private readonly faultsFileEmpty: FaultExperiments;
  private readonly poison: Experiment | null;
  private readonly unmapped: Experiment | null;
  private readonly present: Experiment | null;

  constructor(subject: Subject, lock: Lock, notes: Notes) {
    this.subject = subject;
    this.lock = lock;
    this.notes = notes;
    const { sharing, alias } = subject.backing();
    const isCopy = sharing === 'private' && alias;
    this.faults = this.faultExperiments('kept');
    this.faultsFileEmpty = isCopy
      ? this.faultExperiments('emptied')
      : { missing: null, minor: null };
    this.poison = this.controlled('poison markers', true, (treat) =>
      observePoison(subject, lock, treat),
    );
    this.unmapped = this.protection('unmapped');
    this.present = this.protection('present');
  }

  look(call: DiscardCall, treat: Treatment, thread: CallThread): SeenByUserfaultfd {
    return {
      nextTouch: firstFault(this.faults, treat),
      nextTouchFileEmpty: firstFault(this.faultsFileEmpty, treat),
      poisonKept: this.poison?.(treat) ?? null,
      unmappedProtectionKept: this.unmapped?.(treat) ?? null,
      presentProtectionKept: this.present?.(treat) ?? null,
      removeEvent: this.notes.attempt('the REMOVE event', () =>
        observeRemoveEvent(this.subject, this.lock, call, thread),
      ),
    };
  }

  /** @param without what the experiment shows where no call is made */
  private controlled(what: string, without: boolean, run: Experiment): Experiment | null {
    return this.notes.control(what, () => run(untreated) === without) ? run : null;
  }

  private faultExperiments(file: 'kept' | 'emptied'): FaultExperiments {
    const experiment = (kind: FaultKind): Experiment | null =>
      this.controlled(`${kind} faults`, false, (treat) =>
        observeFault(this.subject, this.lock, treat, kind, file),
      );
    return { missing: experiment('missing'), minor: experiment('minor') };
  }

  private protection(page: ProtectedPage): Experiment | null {
    return this.controlled(`write-protection of ${page} pages`, true, (treat) =>
      observeProtection(this.subject, this.lock, treat, page),
    );
  }
}

function firstFault({ missing, minor }: FaultExperiments, treat: Treatment): NextTouch | null {
  if (missing?.(treat)) {
    return 'missing';
  }
  if (minor?.(treat)) {
    return 'minor';
  }
  return missing === null && minor === null ? null : 'none';
}
