/**
 * What of the host is changed and to be put back: by the test that changed it, or, however this
 * process ends before that, by a shell that watches it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';

interface Debt {
  /** The same as `undo` of {@link owe}, for a shell. One line. */
  readonly script: string;
}

/** The latest last. */
const debts: Debt[] = [];
let watcher: ChildProcess | null = null;

// The last complete line counts, once the pipe is closed: SIGKILL leaves nobody to say so.
const WATCH = 'while read -r line; do owed=$line; done; eval "$owed"';

/** Tells the watcher what is owed now. Written before the call returns: a line fits into the pipe. */
function tell(): void {
  if (debts.length === 0) {
    watcher?.kill('SIGKILL');
    (watcher?.stdin as Socket | undefined)?.destroy();
    watcher = null;
    return;
  }
  if (watcher === null) {
    watcher = spawn('sh', ['-c', WATCH], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true, // a signal to our process group is not meant for it
    });
    watcher.unref();
    (watcher.stdin as Socket).unref();
  }
  const scripts = debts.map(({ script }) => script).reverse();
  watcher.stdin!.write(`${scripts.join('; ')}\n`);
}

/**
 * To be called before something of the host is changed.
 *
 * @param undo puts it back
 * @param script does the same in a shell, when this process ends without having done it
 * @returns what does it once, and then nothing; where `undo` throws it is still owed
 */
export function owe(undo: () => void, script: string): () => void {
  const debt = { script };
  debts.push(debt);
  tell();
  return () => {
    const at = debts.indexOf(debt);
    if (at >= 0) {
      undo();
      debts.splice(at, 1);
      tell();
    }
  };
}

/** A word of a shell script. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
