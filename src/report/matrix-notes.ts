import type { DiscardMatrix } from '../memory/discard-matrix/discard-matrix.js';
import type { Note } from '../memory/discard-matrix/notes.js';
import { wrapText } from './table.js';

/** A reason, with all that it keeps from being tried or seen on one kind of memory. */
interface Reason {
  readonly whats: readonly string[];
  readonly why: string;
  readonly hint: string | null;
}

/** What could not be tried or seen: what has the same reason on several backings is said once. */
export function noteLines({ calls, discard }: DiscardMatrix): string[] {
  const groups = new Map<string, { reason: Reason; backings: string[] }>();
  for (const { backing, notes, mlockLocks } of calls) {
    const own = discard.find((one) => one.backing === backing)?.notes ?? [];
    const reasons = reasonsOf([...notes, ...own], backing);
    for (const reason of mlockLocks === false ? [...reasons, NOT_LOCKED] : reasons) {
      const key = JSON.stringify(reason);
      const group = groups.get(key) ?? { reason, backings: [] };
      group.backings.push(backing);
      groups.set(key, group);
    }
  }
  return [...groups.values()].flatMap(({ reason, backings }) => describe(reason, backings));
}

const NOT_LOCKED: Reason = {
  whats: [],
  why: 'mlock(2) succeeds and locks nothing (smaps shows no VM_LOCKED)',
  hint: null,
};

function reasonsOf(notes: readonly Note[], backing: string): Reason[] {
  const reasons = new Map<string, { whats: string[]; why: string; hint: string | null }>();
  for (const { what, why, hint } of notes) {
    const reason = reasons.get(why) ?? { whats: [], why: withoutName(why, backing), hint };
    reason.whats.push(what);
    reasons.set(why, reason);
  }
  return [...reasons.values()];
}

/** Errors of guest memory begin with the backing's name. */
function withoutName(why: string, backing: string): string {
  return why.startsWith(`${backing}: `) ? why.slice(backing.length + 2) : why;
}

/** A hint is a line of its own, so that a command in it can be copied. */
function describe({ whats, why, hint }: Reason, backings: readonly string[]): string[] {
  const isWhole = whats.length === 0 || whats.includes('this memory');
  const about = isWhole ? '' : `${whats.join(', ')}: `;
  const line = wrapText(`${backings.join(', ')}: ${about}${why}.`, 100, '  ');
  return hint === null ? [line] : [line, `  ${hint}`];
}
