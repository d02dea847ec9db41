import t from 'tap';
import { fillMissing } from '../../src/machine/fill-missing.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { eachBacking } from '../support/backings.js';
import { GuestPages } from '../support/guest-pages.js';
import { installerFor, PAGE, SOURCE } from '../support/trapped-memory.js';

const goOn = async (): Promise<boolean> => true;

eachBacking('all is there, and what was there is kept', {}, async (t, backing, bytes) => {
  using memory = GuestMemory.create(backing, bytes, backing.pageBytes);
  const installer = installerFor(memory);
  installer.fill(1, 1);
  installer.map(1, 1);
  memory.states.words[1] = MAPPED;
  const view = new GuestPages(memory.layout);
  view.write(backing.pageBytes, new Uint8Array([1, 2, 3]));
  t.equal(await fillMissing(memory, installer, goOn), null);
  t.strictSame([...memory.states.words], Array(4).fill(MAPPED));
  t.strictSame(view.bytes(backing.pageBytes, 3), new Uint8Array([1, 2, 3]));
  t.strictSame(
    [0, 2, 3].map((unit) => view.unit(unit)),
    ['source', 'source', 'source'],
  );
});

t.test('a unit that cannot be had is named, and those after it stay missing', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 8 * PAGE, PAGE);
  const source = {
    compare: SOURCE.compare.bind(SOURCE),
    fill: (page: number, words: Int32Array, first: number, count: number) =>
      page !== 5 && SOURCE.fill(page, words, first, count),
  };
  t.equal(await fillMissing(memory, installerFor(memory, { source }), goOn), 5);
  t.strictSame([...memory.states.words], [...Array(5).fill(MAPPED), ...Array(3).fill(MISSING)]);
});

t.test('told to end, it leaves the rest missing', async (t) => {
  using memory = GuestMemory.create(BACKINGS.shmem, 48 * 2 ** 20, 2 ** 20);
  let asked = 0;
  const result = await fillMissing(memory, installerFor(memory), async () => ++asked < 3);
  t.equal(result, null);
  t.equal(asked, 3);
  t.equal(memory.states.count(MAPPED), 32, 'every 16 MiB it is asked');
});
