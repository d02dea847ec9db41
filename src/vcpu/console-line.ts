const NEWLINE = 10;
/** A line without an end is passed on in pieces of this many bytes. */
const LINE_BYTES = 256;

/** Passes bytes on a line at a time, so that writers do not mix theirs. */
export interface ConsoleLine {
  readonly put: (byte: number) => void;
  /** Passes on what no newline has ended. */
  readonly flush: () => void;
}

/** @param write receives pieces of text, one character for each byte */
export function createConsoleLine(write: (text: string) => void): ConsoleLine {
  const line = Buffer.alloc(LINE_BYTES);
  let length = 0;
  const flush = (): void => {
    if (length > 0) {
      write(line.toString('latin1', 0, length)); // TextDecoder's latin1 is windows-1252
      length = 0;
    }
  };
  return {
    flush,
    put: (byte) => {
      line[length++] = byte;
      if (byte === NEWLINE || length === LINE_BYTES) {
        flush();
      }
    },
  };
}
