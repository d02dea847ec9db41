/** What is typed, for a guest's serial port: from a terminal, or from a pipe or file as it is. */

import { readFileSync } from 'node:fs';

/** A terminal's: begins a command to us, as in QEMU. */
const PREFIX = 0x01; // Ctrl-A
const QUIT = 'x'.charCodeAt(0);
const LITERAL = 'a'.charCodeAt(0);

/** As much of process.stdin as is used. */
export interface InputStream {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
  on(event: 'data', listener: (data: Uint8Array) => void): unknown;
  on(event: 'end' | 'error' | 'close', listener: () => void): unknown;
  off(event: 'data', listener: (data: Uint8Array) => void): unknown;
  off(event: 'end' | 'error' | 'close', listener: () => void): unknown;
  pause(): unknown;
  resume(): unknown;
  unref?(): unknown;
}

/** The terminal that is in raw mode, or null. */
let raw: InputStream | null = null;

/** Gives the terminal back as it was. May be called at any time, also right before _exit. */
export function restoreTerminal(): void {
  raw?.setRawMode?.(false);
  raw = null;
}

/**
 * Reads a stream for a guest, from when it is iterated over until then, and no faster than the guest
 * takes it. A terminal is in raw mode meanwhile: every key goes to the guest, Ctrl-C too, but for
 * Ctrl-A x, which quits, and Ctrl-A a, which is Ctrl-A.
 *
 * @param quit called for Ctrl-A x
 */
export function typedInput(
  open: () => InputStream,
  quit: () => void,
): AsyncIterable<Uint8Array> & { readonly close: () => void } {
  let close = (): void => undefined;
  return {
    close: () => close(),
    [Symbol.asyncIterator]: () => {
      const reader = read(open(), quit);
      close = () => void reader.return?.();
      return reader;
    },
  };
}

/** Whoever reads from a terminal that is another job's, or changes its mode, is stopped by the kernel. */
function isInBackground(): boolean {
  // Behind the name, which may have any characters: state, ppid, pgrp, session, tty_nr, tpgid.
  const [, , pgrp, , , tpgid] = readFileSync('/proc/self/stat', 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ')
    .map(Number);
  return tpgid !== -1 && pgrp !== tpgid;
}

function read(stream: InputStream, quit: () => void): AsyncIterator<Uint8Array> {
  const isTerminal = stream.isTTY === true && stream.setRawMode !== undefined;
  const commands = isTerminal ? commandsIn(quit) : (data: Uint8Array) => data;
  const chunks: Uint8Array[] = [];
  const DONE = { done: true, value: undefined } as const;
  let over = isTerminal && isInBackground();
  let waiting: ((result: IteratorResult<Uint8Array>) => void) | null = null;

  const pass = (): void => {
    const chunk = chunks[0];
    if (waiting === null || (chunk === undefined && !over)) {
      return;
    }
    const answer = waiting;
    waiting = null;
    chunks.shift();
    answer(chunk === undefined ? DONE : { done: false, value: chunk });
  };
  const onData = (data: Uint8Array): void => {
    const rest = commands(data);
    if (rest.length > 0) {
      chunks.push(rest);
    }
    if (!isTerminal) {
      stream.pause(); // a file is read no faster than the guest takes it; of a terminal, Ctrl-A x is
    }
    pass();
  };
  const onEnd = (): void => {
    over = true;
    pass();
  };
  if (over) {
    return { next: () => Promise.resolve(DONE), return: () => Promise.resolve(DONE) };
  }
  stream.on('data', onData);
  stream.on('end', onEnd);
  stream.on('error', onEnd); // a terminal that is gone types nothing more
  stream.on('close', onEnd);
  if (isTerminal) {
    stream.setRawMode!(true);
    raw = stream;
  }
  return {
    next: () =>
      new Promise((resolve) => {
        waiting = resolve;
        if (chunks.length === 0 && !over) {
          stream.resume();
        }
        pass();
      }),
    return: () => {
      over = true;
      chunks.length = 0;
      stream.off('data', onData);
      stream.off('end', onEnd);
      stream.off('error', onEnd);
      stream.off('close', onEnd);
      stream.on('error', () => undefined);
      stream.pause();
      stream.unref?.();
      if (isTerminal) {
        restoreTerminal();
      }
      pass();
      return Promise.resolve(DONE);
    },
  };
}

/** Takes commands to us out of what is typed, also where the two keys come apart. */
function commandsIn(quit: () => void): (data: Uint8Array) => Uint8Array {
  let isCommand = false;
  return (data) => {
    const rest: number[] = [];
    for (const byte of data) {
      if (!isCommand) {
        isCommand = byte === PREFIX;
        if (!isCommand) {
          rest.push(byte);
        }
        continue;
      }
      isCommand = false;
      if (byte === QUIT) {
        quit();
      } else if (byte === LITERAL || byte === PREFIX) {
        rest.push(PREFIX);
      } else {
        rest.push(PREFIX, byte); // no command of ours
      }
    }
    return Uint8Array.from(rest);
  };
}
