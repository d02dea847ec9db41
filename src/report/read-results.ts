import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { UsageError } from '../ffi/errors.js';
import type { RunResult } from '../machine/run-result.js';
import type { BenchResult, BenchSet } from './bench-result.js';
import { whyItsRunsDeny } from './own-runs.js';
import { SCHEMA_NAMES, whyNoResult } from './result-schema.js';

/** What a result file holds. */
export type Result = RunResult | BenchResult | BenchSet;

/** A result, and the file it came from. */
export interface ResultFile {
  readonly path: string;
  /** What to call it where both a name and a result are wanted: the file's, without its folder. */
  readonly name: string;
  readonly result: Result;
}

/** More than any bench writes: the largest have a few MiB. */
const MOST_BYTES = 64 * 2 ** 20;

const WHERE_FROM = 'It wants what run --json, or bench with --json FILE, has written.';

/**
 * Reads a result that anybody may have written.
 *
 * @throws UsageError it cannot be read, does not follow the schema that it names, or says what its own
 *   runs do not
 */
export function readResult(path: string): ResultFile {
  if (path === '') {
    throw new UsageError('a name of a file is empty', WHERE_FROM);
  }
  if (path === '-') {
    throw new UsageError('results are read from files, not from -', 'Name a file, or /dev/stdin.');
  }
  const text = decode(path, readBytes(path));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${path} is no JSON: ${placeOf(error as Error, text)}`, WHERE_FROM, {
      cause: error,
    });
  }
  const why = whyNoResult(value);
  if (why !== null) {
    throw new UsageError(`${path} is no result of faultline: ${why}`, WHERE_FROM);
  }
  const result = value as Result;
  if (result.schema === 'faultline.run/1' && !('config' in result)) {
    const { message } = (result as RunResult).error!;
    throw new UsageError(`${path} is of a run that never began: ${message}`);
  }
  const denied = whyItsRunsDeny(result);
  if (denied !== null) {
    throw new UsageError(
      `${path} contradicts itself: ${denied}`,
      'No bench writes such a result: measure again.',
    );
  }
  return { path, name: basename(path), result };
}

function readBytes(path: string): Buffer {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(path, constants.O_RDONLY);
    const stats = fstatSync(descriptor);
    if (stats.isDirectory() || !(stats.isFile() || stats.isFIFO())) {
      const kind = stats.isDirectory() ? 'a directory' : 'neither a file nor a pipe';
      throw new UsageError(`${path} is ${kind}`, `Name a file with ${SCHEMA_NAMES.join(' or ')}.`);
    }
    const chunks: Buffer[] = [];
    let total = 0;
    for (;;) {
      const chunk = Buffer.allocUnsafe(2 ** 20);
      const read = readSync(descriptor, chunk);
      if (read === 0) {
        return Buffer.concat(chunks, total);
      }
      chunks.push(chunk.subarray(0, read));
      total += read;
      if (total > MOST_BYTES) {
        throw new UsageError(`${path} has more than ${MOST_BYTES / 2 ** 20} MiB, as no result has`);
      }
    }
  } catch (error) {
    if (error instanceof UsageError) {
      throw error;
    }
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`${path} cannot be read (${code ?? 'unknown error'})`, '', {
      cause: error,
    });
  } finally {
    if (descriptor !== null) {
      closeSync(descriptor);
    }
  }
}

function decode(path: string, bytes: Buffer): string {
  if (bytes.length === 0) {
    throw new UsageError(`${path} is empty`, WHERE_FROM);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new UsageError(`${path} is no text in UTF-8`, WHERE_FROM, { cause: error });
  }
}

/** Where JSON ends to be JSON, without the text that the engine quotes. */
function placeOf({ message }: Error, text: string): string {
  const position = /at position (\d+)/.exec(message)?.[1];
  if (position === undefined) {
    return message.startsWith('Unexpected end') ? 'it ends too early' : 'it cannot be parsed';
  }
  if (Number(position) >= text.length) {
    return 'it ends too early';
  }
  const before = text.slice(0, Number(position)).split('\n');
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`;
}
