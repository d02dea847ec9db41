import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import t from 'tap';
import { type InputStream, restoreTerminal, typedInput } from '../../src/cli/typed-input.js';

/** A terminal as node gives it, with its modes noted. */
class Terminal extends EventEmitter {
  readonly isTTY = true;
  readonly modes: boolean[] = [];
  flowing = false;
  setRawMode(raw: boolean): void {
    this.modes.push(raw);
  }
  pause(): void {
    this.flowing = false;
  }
  resume(): void {
    this.flowing = true;
  }
}

const text = (data: Uint8Array): string => Buffer.from(data).toString('latin1');
const bytes = (from: string): Buffer => Buffer.from(from, 'latin1');

t.test('nothing is touched until somebody reads', async (t) => {
  let opened = 0;
  const input = typedInput(
    () => {
      opened++;
      return new Terminal();
    },
    () => undefined,
  );
  input.close();
  t.equal(opened, 0);
});

t.test('a terminal: every key is passed on, but for Ctrl-A and what follows', async (t) => {
  const terminal = new Terminal();
  let quits = 0;
  const input = typedInput(
    () => terminal as unknown as InputStream,
    () => quits++,
  );
  const reader = input[Symbol.asyncIterator]();
  t.strictSame(terminal.modes, [true]);
  terminal.emit('data', bytes('ls\r\x03'));
  t.equal(text((await reader.next()).value), 'ls\r\x03', 'Ctrl-C is for the guest');
  terminal.emit('data', bytes('a\x01'));
  t.equal(text((await reader.next()).value), 'a');
  terminal.emit('data', bytes('ab\x01\x01\x01z'));
  t.equal(text((await reader.next()).value), '\x01b\x01\x01z', 'the keys may come apart');
  const last = reader.next();
  terminal.emit('data', bytes('\x01x'));
  t.equal(quits, 1);
  input.close();
  t.strictSame(terminal.modes, [true, false], 'as it was');
  t.equal((await last).done, true, 'who waits is not left waiting');
  t.equal(terminal.listenerCount('data'), 0);
  restoreTerminal();
  t.strictSame(terminal.modes, [true, false], 'once');
});

t.test('a terminal that is being read is restored by whoever ends the process', async (t) => {
  const terminal = new Terminal();
  typedInput(
    () => terminal as unknown as InputStream,
    () => undefined,
  )[Symbol.asyncIterator]();
  restoreTerminal();
  t.strictSame(terminal.modes, [true, false]);
});

t.test('a pipe: byte for byte, no faster than it is taken, to its end', async (t) => {
  const pipe = new PassThrough();
  const input = typedInput(
    () => pipe as unknown as InputStream,
    () => t.fail('there are no commands in a pipe'),
  );
  const sent = Buffer.concat(Array.from({ length: 100 }, (_, at) => bytes(`${at}\x01x\x03\xff`)));
  pipe.end(sent);
  const found: Uint8Array[] = [];
  for await (const chunk of input) {
    found.push(chunk);
    t.equal(pipe.isPaused(), true);
  }
  t.ok(Buffer.concat(found).equals(sent));
});

t.test('a stream that fails ends', async (t) => {
  const pipe = new PassThrough();
  const input = typedInput(
    () => pipe as unknown as InputStream,
    () => undefined,
  );
  const reader = input[Symbol.asyncIterator]();
  const next = reader.next();
  pipe.destroy(new Error('EIO'));
  t.equal((await next).done, true);
  input.close();
});
