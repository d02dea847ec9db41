import t from 'tap';
import { consoleWriter, printableConsole, printableLine } from '../../src/cli/console-text.js';

const ATTACK = 'a\x1b]0;title\x07\x1b[2J\x9b31m\r\nb\tc\rd\x00\x7f\xff\n';

t.test('on a terminal only text, tabs and newlines are left', async (t) => {
  t.equal(
    printableConsole(ATTACK),
    'a\\x1b]0;title\\x07\\x1b[2J\\x9b31m\nb\tc\\x0dd\\x00\\x7f\\xff\n',
  );
});

t.test('a stream that is no terminal gets every byte as it is', async (t) => {
  const written: (string | Uint8Array)[] = [];
  const write = (data: string | Uint8Array): boolean => {
    written.push(data);
    return true;
  };
  const once = (): void => undefined;
  await consoleWriter({ write, once })(ATTACK);
  t.strictSame(written, [Buffer.from(ATTACK, 'latin1')]);
  await consoleWriter({ write, once, isTTY: true })(ATTACK);
  t.equal(written[1], printableConsole(ATTACK));
});

t.test('a message is one line, in any script', async (t) => {
  t.equal(printableLine(' no\n(Did you mean x?)\n'), 'no (Did you mean x?)');
  t.equal(printableLine('größer 大\x1b[2J\u202e\u2028.'), 'größer 大\\x1b[2J\\u{202e}\\u{2028}.');
});

t.test('it is done when the stream takes more', async (t) => {
  let drain = (): void => {
    t.fail('nobody waits');
  };
  let done = false;
  const once = (_event: string, listener: () => void): void => {
    drain = listener;
  };
  const write = consoleWriter({ write: () => false, once });
  const written = Promise.all([write('x'), write('y')]).then(() => {
    done = true;
  });
  await Promise.resolve();
  t.notOk(done);
  drain();
  await written;
  t.ok(done);
});
