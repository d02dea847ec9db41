/** A guest that writes to its console without end takes no memory of ours, and is stopped. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { kvmSkip } from '../support/host.js';

const skip = kvmSkip();

/** 0: mov $0x3f8, %dx; mov $'a', %al; out; ×63, newline; then again, or hlt. */
function writer(t: Test, lines: number): string {
  const line = [0xb0, 0x61, ...Array(63).fill(0xee), 0xb0, 0x0a, 0xee];
  const code = [
    ...[0xba, 0xf8, 0x03, 0xb9, lines & 0xff, lines >> 8], // mov to %dx, %cx
    ...[...line, 0xe2, 256 - line.length - 2], // loop
    0xf4,
  ];
  return join(t.testdir({ writer: Buffer.from(code) }), 'writer');
}

t.test(
  'while nobody reads, no more than 64 KiB are under way',
  { skip, timeout: 30_000 },
  async (t) => {
    let bytes = 0;
    const end = new AbortController();
    const vcpus = 4;
    const result = await runGuest({
      image: writer(t, 0xffff),
      memoryBytes: 8 * 2 ** 20,
      vcpus,
      signal: end.signal,
      onConsole: (text) => {
        bytes += text.length;
        if (bytes > 32768 && bytes - text.length <= 32768) {
          setTimeout(() => end.abort(), 500); // far longer than the rest would take
        }
        return new Promise(() => undefined);
      },
    });
    t.match(result, { error: { code: 'interrupted' } });
    t.ok(bytes <= 65536 + vcpus * 256, `${bytes} bytes`);
  },
);

t.test('a reader that takes its time gets every line', { skip, timeout: 60_000 }, async (t) => {
  let text = '';
  const lines = 3000;
  const result = await runGuest({
    image: writer(t, lines),
    memoryBytes: 8 * 2 ** 20,
    onConsole: async (line) => {
      text += line;
      await new Promise((resolve) => setImmediate(resolve));
    },
  });
  t.match(result, { outcome: 'completed' });
  t.equal(text, `${'a'.repeat(63)}\n`.repeat(lines));
});

t.test('a reader that rejects ends the run', { skip, timeout: 30_000 }, async (t) => {
  const run = runGuest({
    image: writer(t, 0xffff),
    memoryBytes: 8 * 2 ** 20,
    onConsole: async () => {
      throw new Error('mine');
    },
  });
  await t.rejects(run, { message: 'mine' });
});
