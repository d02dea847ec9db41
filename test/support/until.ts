/** Waiting for something that another thread or process does, with a limit. */
import { setTimeout } from 'node:timers/promises';

const LOOK_MILLISECONDS = 2;
const LIMIT_MILLISECONDS = 30_000;

/** @throws when it has not come true within half a minute */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + LIMIT_MILLISECONDS;
  while (!condition()) {
    if (performance.now() > deadline) {
      throw new Error(`waited in vain until ${what}`);
    }
    await setTimeout(LOOK_MILLISECONDS);
  }
}
