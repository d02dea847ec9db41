import { DISCARD_CALLS, type DiscardCall } from './calls.js';
import type { CallObservation, SubjectObservations } from './observe-calls.js';

/**
 * What "works" means: the mapping no longer shows what was in it, and the next touch is certain to
 * be a missing fault. `unsure`: the first without the second.
 */
export type Verdict = 'works' | 'unsure' | 'fails';

/** One statement of the mail, about one call on one or more kinds of memory. */
export interface MailStatement {
  readonly call: DiscardCall;
  readonly verdict: Verdict;
  readonly kinds: readonly MemoryKind[];
}

/** The mail's names for kinds of memory, and the backing that each is. */
export const MEMORY_KINDS = {
  anon: 'anon-private',
  'shmem VM_SHARED': 'shmem',
  'shmem !VM_SHARED': 'shmem-private',
  'hugetlbfs VM_SHARED': 'hugetlb-2M',
  'hugetlbfs !VM_SHARED': 'hugetlb-private-2M',
} as const;
export type MemoryKind = keyof typeof MEMORY_KINDS;

/**
 * "The current status for anon, shmem and hugetlbfs", statement by statement: Andrea Arcangeli, "Re:
 * [LSF/MM TOPIC][LSF/MM,ATTEND] shared TLB, hugetlb reservations", linux-mm, 14 March 2017.
 */
export const MAIL_2017: readonly MailStatement[] = [
  { call: 'MADV_DONTNEED', verdict: 'works', kinds: ['anon', 'shmem !VM_SHARED'] },
  {
    call: 'MADV_DONTNEED',
    verdict: 'fails',
    kinds: ['hugetlbfs VM_SHARED', 'hugetlbfs !VM_SHARED'],
  },
  { call: 'MADV_DONTNEED', verdict: 'unsure', kinds: ['shmem VM_SHARED'] },
  { call: 'MADV_REMOVE', verdict: 'works', kinds: ['shmem VM_SHARED', 'hugetlbfs VM_SHARED'] },
  {
    call: 'MADV_REMOVE',
    verdict: 'fails',
    kinds: ['anon', 'shmem !VM_SHARED', 'hugetlbfs !VM_SHARED'],
  },
  {
    call: 'PUNCH_HOLE',
    verdict: 'works',
    kinds: ['hugetlbfs VM_SHARED', 'hugetlbfs !VM_SHARED', 'shmem VM_SHARED'],
  },
  { call: 'PUNCH_HOLE', verdict: 'fails', kinds: ['anon', 'shmem !VM_SHARED'] },
];

/**
 * What this kernel does. `if-file-empty`: it works where the file has no page there, and is unsure
 * where it has, for that page is what the next touch of a private mapping finds.
 */
export type VerdictToday = Verdict | 'if-file-empty';

/** A statement about one kind of memory, and what this kernel does. */
export interface MailComparison {
  readonly call: DiscardCall;
  readonly kind: MemoryKind;
  readonly backing: string;
  readonly in2017: Verdict;
  /** Null where it could not be measured. */
  readonly today: VerdictToday | null;
  /** What today's verdict rests on, in words; why there is none. */
  readonly seen: string;
  /** `partly`: what was said holds under a condition. */
  readonly differs: 'no' | 'partly' | 'yes' | null;
}

/** Sets what was measured in this run beside what the mail says. */
export function compareWithMail(
  measured: readonly SubjectObservations[],
): readonly MailComparison[] {
  return MAIL_2017.flatMap(({ call, verdict: in2017, kinds }) =>
    kinds.map((kind) => {
      const backing = MEMORY_KINDS[kind];
      const subject = measured.find((candidate) => candidate.backing === backing);
      const { today, seen } = judge(subject, call);
      return { call, kind, backing, in2017, today, seen, differs: difference(in2017, today) };
    }),
  );
}

function difference(in2017: Verdict, today: VerdictToday | null): MailComparison['differs'] {
  if (today === null) {
    return null;
  }
  if (today === 'if-file-empty') {
    return in2017 === 'fails' ? 'yes' : 'partly';
  }
  return today === in2017 ? 'no' : 'yes';
}

/** Calls that are certain to throw away every kind of memory in the mail, by what was measured. */
export function callsThatAlwaysWork(measured: readonly SubjectObservations[]): DiscardCall[] {
  return DISCARD_CALLS.filter((call) =>
    Object.values(MEMORY_KINDS).every(
      (backing) =>
        judge(
          measured.find((candidate) => candidate.backing === backing),
          call,
        ).today === 'works',
    ),
  );
}

interface Judgement {
  readonly today: VerdictToday | null;
  readonly seen: string;
}

function judge(subject: SubjectObservations | undefined, call: DiscardCall): Judgement {
  const found = subject?.calls.find((entry) => entry.call === call && entry.lock === 'mapped');
  if (found !== undefined) {
    return judgeObservation(found);
  }
  if (subject === undefined || subject.calls.length === 0) {
    return { today: null, seen: 'not measured' };
  }
  const note = subject.notes.find(({ what }) => what === call);
  return { today: 'fails', seen: note?.why ?? 'it cannot be made' };
}

function judgeObservation(observation: CallObservation): Judgement {
  const { errno, nextTouch, nextTouchFileEmpty, guestReads, fileReads } = observation;
  if (errno !== null) {
    return { today: 'fails', seen: errno };
  }
  switch (nextTouch) {
    case null:
      return { today: null, seen: 'the next touch could not be seen' };
    case 'missing':
      return { today: 'works', seen: 'next touch is missing' };
    case 'minor':
      if (nextTouchFileEmpty === 'missing') {
        return { today: 'if-file-empty', seen: "if not, next touch finds the file's page" };
      }
      return {
        today: 'unsure',
        seen: `next touch is minor, finds the ${guestReads === 'guest' ? 'data' : "file's page"}`,
      };
    case 'none':
      return {
        today: 'fails',
        seen: `${fileReads === 'zeroes' ? 'file punched, ' : ''}the guest keeps its data`,
      };
  }
}
