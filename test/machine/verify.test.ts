import { fstatSync } from 'node:fs';
import t from 'tap';
import { verifyMemory } from '../../src/machine/verify.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { CLAIMED, MAPPED, poisonedBecause } from '../../src/memory/page-states.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { ZeroSource } from '../../src/source/zero-source.js';
import { memorySkip } from '../support/host.js';
import { aliasOf, PAGE, SOURCE } from '../support/trapped-memory.js';

const NO_IMAGE: ReadonlySet<number> = new Set();
const goOn = async (): Promise<boolean> => true;
const everyPage = { touches: () => true, contents: () => null };

/** Memory whose pages 2, 3 and 9 are resident and right. */
function memoryWithThreePages(): GuestMemory {
  const memory = GuestMemory.create(BACKINGS.shmem, 16 * PAGE, PAGE);
  for (const page of [2, 3, 9]) {
    SOURCE.fill(page, aliasOf(memory).words[0]!, page * 1024, 1024);
    memory.states.words[page] = MAPPED;
  }
  return memory;
}

t.test('resident pages are compared, and found right', async (t) => {
  using memory = memoryWithThreePages();
  t.strictSame(await verifyMemory(memory, NO_IMAGE, SOURCE, everyPage, false, goOn), {
    pages: 3,
    touchedAndRight: 3,
    touchedAndMissing: null,
    touchedAndPoisoned: 0,
    mismatched: 0,
    firstMismatch: null,
  });
});

t.test('a wrong word is found, wherever it is', async (t) => {
  for (const [page, word] of [
    [2, 0],
    [3, 1023],
    [9, 517],
  ] as const) {
    using memory = memoryWithThreePages();
    aliasOf(memory).words[0]![page * 1024 + word]! ^= 0x8000;
    t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, everyPage, false, goOn), {
      pages: 3,
      touchedAndRight: 2,
      mismatched: 1,
      firstMismatch: page * PAGE + word * 4,
    });
  }
});

t.test('the first of several is told, and all are counted', async (t) => {
  using memory = memoryWithThreePages();
  aliasOf(memory).words[0]![9 * 1024] = 0;
  aliasOf(memory).words[0]![3 * 1024 + 8] = 0;
  t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, everyPage, false, goOn), {
    mismatched: 2,
    firstMismatch: 3 * PAGE + 32,
  });
});

t.test('pages that are not resident are not read', async (t) => {
  using memory = memoryWithThreePages();
  memory.states.publish(5, poisonedBecause(7));
  memory.states.words[6] = CLAIMED;
  const { fd } = memory.layout;
  const before = fstatSync(fd).blocks;
  t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, everyPage, false, goOn), {
    pages: 3,
    touchedAndPoisoned: 1,
    mismatched: 0,
  });
  t.equal(fstatSync(fd).blocks, before, 'reading a hole would have allocated a page');
});

t.test("the image's own pages are left out", async (t) => {
  using memory = memoryWithThreePages();
  aliasOf(memory).words[0]![3 * 1024] = 0;
  t.match(await verifyMemory(memory, new Set([3]), SOURCE, everyPage, false, goOn), {
    pages: 2,
    mismatched: 0,
  });
});

t.test('what the guest does not touch is compared, but not counted as touched', async (t) => {
  using memory = memoryWithThreePages();
  const workload = { touches: (page: number) => page === 9, contents: () => null };
  t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, workload, false, goOn), {
    pages: 3,
    touchedAndRight: 1,
  });
});

t.test('pages that the guest writes must have what it writes', async (t) => {
  using memory = memoryWithThreePages();
  const zeroes = new ZeroSource();
  const workload = {
    touches: () => true,
    contents: (page: number) => (page === 9 ? zeroes : null),
  };
  t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, workload, false, goOn), {
    firstMismatch: 9 * PAGE,
  });
  aliasOf(memory).fill(9 * PAGE, PAGE, 0);
  t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, workload, false, goOn), { mismatched: 0 });
});

t.test('an image that nothing is known of is not verified', async (t) => {
  using memory = memoryWithThreePages();
  t.equal(
    await verifyMemory(
      memory,
      NO_IMAGE,
      SOURCE,
      { touches: () => true, contents: null },
      false,
      goOn,
    ),
    null,
  );
});

t.test(
  'units of several pages, and memory above the first GiB',
  {
    skip: memorySkip(1.5 * 2 ** 30),
  },
  async (t) => {
    using memory = GuestMemory.create(BACKINGS.shmem, 1.5 * 2 ** 30, 4 * PAGE);
    const page = 2 ** 18 + 4; // unit 1 of the second window
    SOURCE.fill(page, aliasOf(memory).words[1]!, 4 * 1024, 4 * 1024);
    memory.states.words[page / 4] = MAPPED;
    t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, everyPage, false, goOn), {
      pages: 4,
      mismatched: 0,
    });
    aliasOf(memory).words[1]![6 * 1024 + 3] = 0;
    t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, everyPage, false, goOn), {
      mismatched: 1,
      firstMismatch: 2 ** 30 + 6 * PAGE + 12,
    });
  },
);

t.test('a verification that is ended claims nothing', async (t) => {
  using memory = memoryWithThreePages();
  t.equal(await verifyMemory(memory, NO_IMAGE, SOURCE, everyPage, false, async () => false), null);
});

t.test('of a guest that ended early any word may be written or not', async (t) => {
  using memory = memoryWithThreePages();
  const words = aliasOf(memory).words[0]!;
  const written = new PatternSource(99);
  const half = new Int32Array(1024);
  written.fill(3, half, 0, 1024);
  words.set(half.subarray(0, 500), 3 * 1024);
  const workload = { ...everyPage, contents: () => written, endedEarly: true };
  t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, workload, false, goOn), {
    pages: 3,
    mismatched: 0,
  });
  words[3 * 1024 + 7]! ^= 1;
  t.match(await verifyMemory(memory, NO_IMAGE, SOURCE, workload, false, goOn), {
    mismatched: 1,
    firstMismatch: 3 * PAGE + 7 * 4,
  });
  t.match(
    await verifyMemory(memory, NO_IMAGE, SOURCE, { ...workload, endedEarly: false }, false, goOn),
    { mismatched: 3 },
  );
});
