import t from 'tap';
import { ZeroSource } from '../../src/source/zero-source.js';

t.test('fill writes zeroes where it is told, and nowhere else', async (t) => {
  const words = new Int32Array(4096).fill(-1);
  t.equal(new ZeroSource().fill(9, words, 1024, 2048), true);
  t.ok(words.subarray(0, 1024).every((word) => word === -1));
  t.ok(words.subarray(1024, 3072).every((word) => word === 0));
  t.ok(words.subarray(3072).every((word) => word === -1));
});

t.test('compare finds the first word that is not zero', async (t) => {
  const source = new ZeroSource();
  for (const index of [0, 1, 511, 1022, 1023]) {
    const words = new Int32Array(3072);
    words[1024 + index] = 0x100;
    t.equal(source.compare(0, words, 1024), index);
    t.equal(source.compare(0, words, 0), -1, 'of this page alone');
    t.equal(source.compare(0, words, 2048), -1);
  }
});
