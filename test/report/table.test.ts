import t from 'tap';
import { textTable, wrapText } from '../../src/report/table.js';

t.test('words of the first columns to the left, numbers to the right', async (t) => {
  const rows = [
    ['a', 'bb', '1'],
    ['aaa', 'b', '100'],
  ];
  t.equal(
    textTable(['x', 'y', 'n'], rows),
    ['x     y    n', 'a    bb    1', 'aaa   b  100'].join('\n'),
  );
  t.equal(
    textTable(['x', 'y', 'n'], rows, 2),
    ['x    y     n', 'a    bb    1', 'aaa  b   100'].join('\n'),
  );
});

t.test('a paragraph is broken at blanks, and goes on indented', async (t) => {
  t.equal(wrapText('one two three', 7), 'one two\nthree');
  t.equal(wrapText('one two three', 7, '  '), 'one two\n  three');
  t.equal(wrapText('short', 100), 'short');
  t.equal(wrapText('a_word_too_long to break', 6), 'a_word_too_long\nto\nbreak');
});
