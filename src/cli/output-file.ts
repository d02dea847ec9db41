import { accessSync, constants, existsSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { UnsupportedError, UsageError } from '../ffi/errors.js';

/**
 * Before the work, not after it; without creating the file, for an interrupted command leaves nothing.
 *
 * @param option as `--json`
 * @throws UsageError nothing can be written there
 */
export function checkWritable(option: string, path: string): void {
  if (path === '') {
    throw new UsageError(`${option} names no file`, 'Name one, or - for stdout.');
  }
  try {
    accessSync(existsSync(path) ? path : dirname(path), constants.W_OK);
    if (existsSync(path) && statSync(path).isDirectory()) {
      throw Object.assign(new Error('it is a directory'), { code: 'EISDIR' });
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`${option} ${path} cannot be written (${code ?? 'unknown error'})`, '', {
      cause: error,
    });
  }
}

/**
 * @param lost what is said of the result should it not be written
 * @throws UnsupportedError there is no room
 */
export function writeOutput(option: string, path: string, text: string, lost = ''): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UnsupportedError(
      `${option} ${path} could not be written (${code ?? 'unknown error'})`,
      `Name a file where there is room.${lost}`,
      { cause: error },
    );
  }
}
