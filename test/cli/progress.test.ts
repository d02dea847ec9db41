import t from 'tap';
import { describeLeft, ProgressLine } from '../../src/cli/progress.js';

t.test('time left follows from what is behind', async (t) => {
  t.equal(describeLeft(10, 5, 10), ', about 10 s left');
  t.equal(describeLeft(30, 1, 4), ', about 90 s left');
  t.equal(describeLeft(60, 1, 6), ', about 5 minutes left');
});

t.test('it is not said before it is known, nor of less than two seconds', async (t) => {
  t.equal(describeLeft(10, 0, 10), '', 'nothing is behind');
  t.equal(describeLeft(0, 0, 10), '');
  t.equal(describeLeft(1.9, 1, 10), '', 'too early to tell');
  t.equal(describeLeft(9, 9, 10), '');
  t.equal(describeLeft(9, 10, 10), '', 'nothing is left');
});

t.test('a log has a line for each step', async (t) => {
  const { write } = process.stderr;
  const wasTerminal = process.stderr.isTTY;
  const lines: string[] = [];
  t.teardown(() => {
    process.stderr.write = write;
    process.stderr.isTTY = wasTerminal;
  });
  process.stderr.isTTY = false;
  process.stderr.write = ((text: string) => lines.push(text) > 0) as typeof write;
  const steps = new ProgressLine(3);
  steps.step(0, 'one');
  steps.within(0, { faults: 1, pages: 2, seconds: 1 });
  steps.step(1, 'two');
  steps.stop();
  const share = new ProgressLine(80, false);
  share.step(20.5, 'a quarter');
  process.stderr.write = write;
  t.strictSame(lines, ['[1/3] one\n', '[2/3] two\n', '[25%] a quarter\n']);
});
