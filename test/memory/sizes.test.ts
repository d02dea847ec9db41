import t from 'tap';
import { parseSize } from '../../src/cli/option-values.js';
import { formatSize } from '../../src/memory/sizes.js';

t.test('a size is written as it is given to options', async (t) => {
  for (const [bytes, text] of [
    [0, '0'],
    [1, '1'],
    [4095, '4095'],
    [4096, '4K'],
    [6144, '6K'],
    [2 ** 20, '1M'],
    [2 ** 20 + 1024, '1025K'],
    [2 ** 21, '2M'],
    [2 ** 30, '1G'],
    [200 * 2 ** 30, '200G'],
    [1.5 * 2 ** 30, '1536M'],
  ] as const) {
    t.equal(formatSize(bytes), text);
    t.equal(parseSize(text), bytes);
  }
});
