import { setImmediate } from 'node:timers/promises';
import { InterruptedError } from '../../ffi/errors.js';
import { describeHost, type HostDescription } from '../../measure/host.js';
import { CallThread } from './call-thread.js';
import type { DiscardCall } from './calls.js';
import { callsThatAlwaysWork, compareWithMail, type MailComparison } from './mail-2017.js';
import { observeCalls, type SubjectObservations } from './observe-calls.js';
import { observeDiscard, type SubjectDiscards } from './one-discard.js';
import { subjects } from './subjects.js';

/** What every way of throwing memory away does on this kernel: schema `faultline.matrix.discard/1`. */
export interface DiscardMatrix {
  readonly schema: 'faultline.matrix.discard/1';
  readonly host: HostDescription;
  /** Every call on every kind of memory. */
  readonly calls: readonly SubjectObservations[];
  /** The one discard(), on every kind of memory. */
  readonly discard: readonly SubjectDiscards[];
  /** The statements of 2017, and the same today. */
  readonly mail: readonly MailComparison[];
  /** Which of the calls are certain to throw away every kind of memory that the mail names. */
  readonly alwaysWork: readonly DiscardCall[];
}

export interface DiscardMatrixOptions {
  /** A kind of memory is next: `done` of `total` are behind it. */
  readonly onStep?: (done: number, total: number, backing: string) => void;
  /** Ends it before the next kind of memory, with an InterruptedError. */
  readonly signal?: AbortSignal;
}

/**
 * Tries every discard call, and our discard(), on every backing, and tells what it saw. Changes
 * nothing on the host and leaves nothing behind. What this host does not have, hugetlb pages for
 * instance, becomes a note that says what would provide it. Takes a second or two; half a minute if
 * there are pages of 1 GiB.
 */
export async function discardMatrix({
  onStep = () => undefined,
  signal,
}: DiscardMatrixOptions = {}): Promise<DiscardMatrix> {
  const all = subjects();
  const calls: SubjectObservations[] = [];
  const discard: SubjectDiscards[] = [];
  const thread = await CallThread.start();
  try {
    for (const [index, subject] of all.entries()) {
      await setImmediate(); // signals are heard between two
      if (signal?.aborted) {
        throw new InterruptedError('the matrix was interrupted');
      }
      onStep(index, all.length, subject.name);
      calls.push(observeCalls(subject, thread));
      discard.push(observeDiscard(subject));
    }
  } finally {
    await thread.end();
  }
  return {
    schema: 'faultline.matrix.discard/1',
    host: describeHost(),
    calls,
    discard,
    mail: compareWithMail(calls),
    alwaysWork: callsThatAlwaysWork(calls),
  };
}
