/** What every refusal must be: an error of ours, in one sentence that a terminal can show. */
import assert from 'node:assert/strict';
import { type ErrorCode, FaultlineError } from '../../src/ffi/errors.js';

/**
 * Does something that may refuse its input.
 *
 * @param check looks at what it says when it refuses
 * @returns what it gave, or null when it refused with a code of `codes`
 */
export function orRefuses<Result>(
  action: () => Result,
  codes: readonly ErrorCode[] = ['usage'],
  check: (message: string) => void = () => undefined,
): Result | null {
  try {
    return action();
  } catch (error) {
    assert(error instanceof FaultlineError, `${(error as Error)?.stack ?? error}`);
    assert(codes.includes(error.code), `${error.code}: ${error.stack}`);
    assert(error.message.length > 8, `"${error.message}" says nothing`);
    check(error.message);
    return null;
  }
}

/** One line for a terminal; what it quotes may be anything. */
export function checkLine(text: string): void {
  assert(text.length > 8, `"${text}" says nothing`);
  assert(!/\p{Cc}/u.test(text), `${JSON.stringify(text)} is no line for a terminal`);
}

/** One line, with something in it, and nothing that has slipped through from JavaScript. */
export function checkSentence(text: string): void {
  assert(text.length > 8, `"${text}" says nothing`);
  assert(!/[\n\r]/.test(text), `"${text}" is more than a line`);
  assert(!/\b(undefined|NaN|\[object|null)\b/.test(text), `"${text}" is not a sentence`);
}
