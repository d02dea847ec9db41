/** The serial line of a PC: neither output nor input waits for the main thread, and no byte is lost. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { kvmSkip } from '../support/host.js';
import {
  echo,
  pcGuest,
  printed,
  printer,
  RESET_BY_CF9,
  RESET_BY_I8042,
  TRIPLE_FAULT,
} from '../support/pc-guest.js';

const skip = kvmSkip();
const options = { skip, timeout: 120_000 };
t.setTimeout(300_000);
const memoryBytes = 32 * 2 ** 20;

const imageOf = (t: Test, file: Uint8Array): string =>
  join(t.testdir({ kernel: Buffer.from(file) }), 'kernel');

function sleepWithoutLooking(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

t.test(
  'a guest prints 100,000 bytes while the main thread does nothing at all',
  options,
  async (t) => {
    const BYTES = 100_000;
    const BLOCKED_SECONDS = 10;
    let blocked = false;
    let text = '';
    const { outcome, perVcpu, guestSeconds } = await runGuest({
      image: imageOf(t, printer(BYTES)),
      memoryBytes,
      delivery: 'exit',
      onProgress: () => {
        if (!blocked) {
          blocked = true;
          sleepWithoutLooking(BLOCKED_SECONDS * 1000);
        }
      },
      onConsole: (piece) => {
        text += piece;
      },
    });
    t.equal(outcome, 'completed');
    t.ok(blocked);
    t.ok(guestSeconds! < BLOCKED_SECONDS - 1, `it took ${guestSeconds} s meanwhile`);
    t.ok(Buffer.from(text, 'latin1').equals(printed(BYTES)), 'every byte, in order');
    const { portAccesses, messages } = perVcpu[0]!;
    t.ok(portAccesses! > BYTES, `${portAccesses} exits`);
    t.ok(messages! <= 2, `${messages} messages to the main thread`);
  },
);

t.test('the main thread is told seldom, however much is printed', options, async (t) => {
  const BYTES = 400_000;
  const pieces: string[] = [];
  const { outcome, perVcpu } = await runGuest({
    image: imageOf(t, printer(BYTES)),
    memoryBytes,
    delivery: 'exit',
    timeoutSeconds: 100,
    onConsole: async (piece) => {
      pieces.push(piece);
      await new Promise((resolve) => setTimeout(resolve, 5)); // slower than the guest
    },
  });
  t.equal(outcome, 'completed');
  t.ok(Buffer.from(pieces.join(''), 'latin1').equals(printed(BYTES)));
  t.ok(perVcpu[0]!.messages! < 100, `${perVcpu[0]!.messages} messages for ${BYTES} bytes`);
});

t.test('a guest that is not read waits, and is stopped all the same', options, async (t) => {
  let bytes = 0;
  const end = new AbortController();
  const result = await runGuest({
    image: imageOf(t, printer(0x7fff_ffff)),
    memoryBytes,
    delivery: 'exit',
    signal: end.signal,
    onConsole: (piece) => {
      bytes += piece.length;
      setTimeout(() => end.abort(), 6000);
      return new Promise(() => undefined);
    },
  });
  t.match(result, { error: { code: 'interrupted' } });
  t.ok(bytes <= 256 * 1024 + 65536, `${bytes} bytes`);
});

t.test('what is typed comes back, more than there is room for at a time', options, async (t) => {
  const sent = Buffer.from(Array.from({ length: 20_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff));
  let asked = 0;
  async function* typed() {
    for (let at = 0; at < sent.length; at += 5000) {
      asked++;
      yield sent.subarray(at, at + 5000);
    }
  }
  let text = '';
  const { outcome, perVcpu } = await runGuest({
    image: imageOf(t, echo(sent.length)),
    memoryBytes,
    delivery: 'exit',
    input: typed(),
    onConsole: (piece) => {
      text += piece;
    },
  });
  t.equal(outcome, 'completed');
  t.ok(Buffer.from(text, 'latin1').equals(sent), `${text.length} bytes came back`);
  t.equal(asked, 4);
  t.ok(perVcpu[0]!.messages! < 200, `${perVcpu[0]!.messages} messages for 80,000 exits`);
});

t.test(
  'an end of what is typed is nothing to the guest, and nobody waits for more',
  options,
  async (t) => {
    async function* typed() {
      yield Buffer.from('abc');
    }
    const result = await runGuest({
      image: imageOf(t, echo(4)),
      memoryBytes,
      delivery: 'exit',
      input: typed(),
      timeoutSeconds: 2,
    });
    t.equal(result.outcome, 'timeout');
    const endless: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
    };
    const printing = { image: imageOf(t, printer(3)), memoryBytes, delivery: 'exit' } as const;
    t.equal((await runGuest({ ...printing, input: endless })).outcome, 'completed');
  },
);

t.test('what is typed and throws ends the run', options, async (t) => {
  // biome-ignore lint/correctness/useYield: it throws before it gives anything
  async function* typed(): AsyncGenerator<Uint8Array> {
    throw new Error('mine');
  }
  const run = runGuest({
    image: imageOf(t, echo(4)),
    memoryBytes,
    delivery: 'exit',
    input: typed(),
  });
  await t.rejects(run, { message: 'mine' });
});

for (const [name, code] of Object.entries({
  'the i8042': RESET_BY_I8042,
  'port 0xcf9': RESET_BY_CF9,
  'a triple fault': TRIPLE_FAULT,
})) {
  t.test(`a reset by ${name} is a shutdown`, options, async (t) => {
    const result = await runGuest({
      image: imageOf(t, pcGuest(code)),
      memoryBytes,
      delivery: 'exit',
      timeoutSeconds: 30,
    });
    t.equal(result.outcome, 'shutdown');
    t.match(result.error, { code: 'shutdown' });
  });
}
