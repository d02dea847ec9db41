import t from 'tap';
import { allocateLink } from '../../src/source/network-link.js';
import { NetworkSource } from '../../src/source/network-source.js';
import {
  DEFAULT_SEED,
  nameOfSource,
  openRehearsalSource,
  openSource,
} from '../../src/source/open-source.js';
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

t.test(
  'a rehearsal is of the same code, but not of the same wait',
  { timeout: 20_000 },
  async (t) => {
    const of = { kind: 'pattern', seed: 5 } as const;
    const link = allocateLink();
    const slow = {
      kind: 'network',
      of,
      link,
      bitsPerSecond: 1000,
      latencyMicroseconds: 6e7,
    } as const;
    const source = openRehearsalSource(slow);
    t.type(source, NetworkSource);
    const words = new Int32Array(1024);
    t.equal(source.fill(3, words, 0, 1024), true); // else it takes minutes
    t.equal(words[0], referenceWord(3, 5, 0));
    t.ok(
      new Uint8Array(link).every((byte) => byte === 0),
      'the link itself was not used',
    );
    t.equal(openRehearsalSource(of).constructor, openSource(of).constructor);
  },
);
