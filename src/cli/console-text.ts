/**
 * Text of others on a terminal: a guest's console, names in errors. What is in it must not move the
 * cursor, change the title, or answer in the user's name, which escape sequences can do.
 */

/** All but printable ASCII, tab and newline. Bytes from 0x80 on are C1 controls, or nobody knows. */
const HIDDEN = /[^\n\t -~]/g;
/** In an error, which is one line and may name a file in any script. */
const HIDDEN_IN_LINE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Console text (one character for each byte) for a terminal: `\x1b` for an escape. */
export function printableConsole(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(HIDDEN, escapeCharacter);
}

/** A message for one line of a terminal. */
export function printableLine(text: string): string {
  return text
    .trim()
    .replace(/\s*\n\s*/g, ' ')
    .replace(HIDDEN_IN_LINE, escapeCharacter);
}

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0)!;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** What console text is written to. */
export interface ConsoleStream {
  readonly isTTY?: boolean;
  write(data: string | Uint8Array): boolean;
  once(event: 'drain', listener: () => void): unknown;
}

/**
 * Writes a guest's console: to a terminal with control characters shown, to a file or pipe byte for
 * byte, as whoever reads them there may want them. What the function gives is fulfilled when the
 * stream takes more.
 *
 * @param isRaw gives a terminal every byte as well: who asks for that trusts the guest
 */
export function consoleWriter(
  stream: ConsoleStream,
  isRaw = false,
): (text: string) => Promise<void> {
  const isShown = stream.isTTY === true && !isRaw;
  let drained: Promise<void> | null = null;
  let held = '';
  return async (piece) => {
    let data: string | Uint8Array = Buffer.from(piece, 'latin1');
    if (isShown) {
      const text = held + piece;
      held = text.endsWith('\r') ? '\r' : ''; // its newline may come with the next piece
      data = printableConsole(text.slice(0, text.length - held.length));
    }
    if (!stream.write(data)) {
      drained ??= new Promise<void>((resolve) => {
        stream.once('drain', () => {
          drained = null;
          resolve();
        });
      });
      await drained;
    }
  };
}
