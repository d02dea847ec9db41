import { UnsupportedError } from '../ffi/errors.js';
import { Mapping } from '../ffi/mapping.js';

/** What the engine reserves for one (590 MiB with Node 20): where it cannot, it ends the process. */
const THREAD_ADDRESS_SPACE = 640 * 2 ** 20;

/** @throws UnsupportedError when there is no address space for so many more threads */
export function checkThreadRoom(threads: number): void {
  try {
    Mapping.reserve(threads * THREAD_ADDRESS_SPACE).close();
  } catch (error) {
    throw noThread(error);
  }
}

export function noThread(error: unknown): UnsupportedError {
  return new UnsupportedError(
    `a thread could not be started (${error instanceof Error ? error.message : error})`,
    'Use fewer vCPUs or handlers, or raise the limits of open files (ulimit -n), address space (ulimit -v) and processes (ulimit -u, or the pids limit of the cgroup).',
    { cause: error },
  );
}
