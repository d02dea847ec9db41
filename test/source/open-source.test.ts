import t from 'tap';
import { DEFAULT_SEED, nameOfSource, openSource } from '../../src/source/open-source.js';
import { referenceWord } from '../support/reference-pattern.js';

t.test('a spec opens the source it names', async (t) => {
  const words = new Int32Array(1024);
  t.equal(openSource({ kind: 'pattern', seed: 0xffff_fff0 }).fill(3, words, 0, 1024), true);
  t.equal(words[0], referenceWord(3, 0xffff_fff0, 0));
  t.equal(openSource({ kind: 'zero' }).fill(3, words, 0, 1024), true);
  t.equal(words[0], 0);
});

t.test('sources of one spec agree: workers open their own', async (t) => {
  const spec = structuredClone({ kind: 'pattern', seed: DEFAULT_SEED } as const);
  const words = new Int32Array(1024);
  openSource(spec).fill(12, words, 0, 1024);
  t.equal(openSource(spec).compare(12, words, 0), -1);
});

t.test('names are those of --source', async (t) => {
  t.equal(nameOfSource({ kind: 'zero' }), 'zero');
  t.equal(nameOfSource({ kind: 'pattern', seed: 42 }), 'pattern:42');
});
