/** A test in which something fails, and which must end, leave nothing behind and not show garbage. */
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type RunOptions, type RunResult, runGuest } from '../../src/index.js';
import { Deadline } from './deadline.js';
import { mappingsOf, openDescriptors, threadCount } from './leaks.js';
import { until } from './until.js';

interface FailureOptions {
  readonly skip: string | false;
  /** From the beginning of the test to its end. Default 40. */
  readonly seconds?: number;
  /** Before anything is counted; false skips the test, which it has said then. */
  readonly prepare?: (t: Test) => boolean;
}

const LONGEST_SECONDS = 120;

/** What this process holds of machines. */
function held(): Record<string, unknown> {
  const descriptors = openDescriptors().map((line) =>
    line.replace(/^\d+ /, '').replace(/:\[\d+\]|^\/proc\/\d+/, ''),
  );
  return {
    descriptors: descriptors.sort(),
    mappings: [...mappingsOf('faultline guest memory'), ...mappingsOf('anon_inode:kvm')],
    mounts: readFileSync('/proc/self/mountinfo', 'utf8'),
  };
}

/** A thread in a system call that never returns keeps tap's own timer from firing. */
let deadline: Deadline | null = null;

/** Once: the engine opens descriptors for its first workers, and keeps them. */
async function warmUp(milliseconds: number): Promise<Deadline> {
  const made = new Deadline(milliseconds);
  await runGuest({ image: 'hello', memoryBytes: 4 * 2 ** 20 });
  t.teardown(() => made.end());
  // The thread behind the deadline opens its own meanwhile.
  let last = '';
  for (let now = JSON.stringify(held()); now !== last; now = JSON.stringify(held())) {
    last = now;
    await setTimeout(200);
  }
  return made;
}

export function failureTest(
  title: string,
  { skip, seconds = 40, prepare = () => true }: FailureOptions,
  body: (t: Test) => Promise<void>,
): void {
  t.test(title, { skip, timeout: seconds * 1000 }, async (t) => {
    deadline ??= await warmUp(LONGEST_SECONDS * 1000);
    deadline.begin(title);
    if (!prepare(t)) {
      return;
    }
    const threads = threadCount();
    const before = held();
    await body(t);
    await until('every thread of ours has ended', () => threadCount() <= threads);
    const same = (): boolean => JSON.stringify(held()) === JSON.stringify(before);
    await until('what it held is given back', same).catch(() => undefined);
    t.strictSame(held(), before, 'it leaves no descriptor, mapping or mount behind');
  });
}

/**
 * A run that verified what it could: nothing that its source did not supply is in guest memory.
 *
 * @param contents `lost`: parts of memory are not there any more afterwards, and are not compared
 */
export async function failingRun(
  t: Test,
  options: Partial<RunOptions>,
  contents: 'kept' | 'lost' = 'kept',
): Promise<RunResult> {
  const result = await runGuest({ image: 'touch', memoryBytes: 8 * 2 ** 20, ...options });
  t.comment(`ended as ${result.outcome}: ${result.error?.message ?? 'no error'}`);
  if (result.error?.code !== 'interrupted' && contents === 'kept') {
    t.equal(result.pages.mismatched, 0, 'no page has contents that its source did not supply');
  }
  return result;
}
