import t from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { BACKINGS, type Backing } from '../../src/memory/backing.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { formatSize } from '../../src/memory/sizes.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { type SetupOptions, setUp } from '../support/discard-setup.js';
import { uffdSkip } from '../support/host.js';
import { expected, PAGE } from '../support/trapped-memory.js';

const skip = uffdSkip(UFFD_FEATURE_POISON);
const options = { skip, timeout: 60_000 };

/** Twice the smallest: every unit has parts that are whole pages too. */
const partial = (backing: Backing): SetupOptions => ({
  unitBytes: backing.hugetlb ? backing.pageBytes : 4 * backing.pageBytes,
});
const fourUnits = (pageBytes: number): number => (pageBytes === PAGE ? 16 : 4) * pageBytes;

eachBacking(
  'a unit covered in part is refused, and nothing happens',
  { ...options, bytes: fourUnits },
  (t, backing, bytes) => {
    const { view, discard, unitBytes, bringIn, states } = setUp(
      t,
      backing,
      bytes,
      partial(backing),
    );
    bringIn(0, 1);
    for (const [start, length] of [
      [0, unitBytes + PAGE],
      [PAGE, 2 * unitBytes - PAGE],
      [PAGE, PAGE],
      [unitBytes - 1, 2],
    ] as const) {
      t.throws(() => discard(start, length), UsageError);
      t.throws(() => discard(start, length), {
        message: /covers fault units of .* in part/,
        hint: new RegExp(`pages of ${formatSize(backing.pageBytes)}.*partial: 'zero'`),
      });
    }
    t.strictSame(states(), [MAPPED, MAPPED, MISSING, MISSING]);
    t.strictSame(view.units(), ['source', 'source', 'EFAULT', 'EFAULT']);
  },
);

eachBacking(
  'asked to, it zeroes the part of a unit, mapped or missing, and no more',
  { ...options, bytes: fourUnits },
  (t, backing, bytes) => {
    const { view, discard, unitBytes, pagesPerUnit, bringIn, states } = setUp(
      t,
      backing,
      bytes,
      partial(backing),
    );
    bringIn(1, 2);
    const [start, end] = [2 * PAGE - 100, 3 * unitBytes + PAGE + 60]; // unit 0 and 3 are missing
    t.strictSame(discard(start, end - start, { partial: 'zero' }), {
      units: 2,
      zeroedBytes: unitBytes - start + PAGE + 60,
    });
    t.strictSame(states(), [MAPPED, MISSING, MISSING, MAPPED]);
    t.strictSame([view.unit(1), view.unit(2)], ['EFAULT', 'EFAULT']);
    const wanted = (page: number): Uint8Array => {
      const contents = new Uint8Array(expected(page).buffer);
      const from = Math.max(0, start - page * PAGE);
      const to = Math.min(PAGE, end - page * PAGE);
      return from < to ? contents.fill(0, from, to) : contents;
    };
    for (const unit of [0, 3]) {
      for (let page = unit * pagesPerUnit; page < (unit + 1) * pagesPerUnit; page++) {
        const same = Buffer.from(wanted(page)).equals(view.bytes(page * PAGE, PAGE));
        if (!same || page % 128 < 4) {
          t.ok(same, `page ${page}`);
        }
      }
    }
  },
);

eachBacking('a part within one unit is zeroed alone', options, (t, backing, bytes) => {
  const { view, discard, bringIn, states } = setUp(t, backing, bytes);
  bringIn(0);
  for (const start of [0, 100, PAGE - 50]) {
    const zero = { partial: 'zero' } as const;
    t.strictSame(discard(start, 50, zero), { units: 0, zeroedBytes: 50 });
    t.strictSame(view.bytes(start, 50), new Uint8Array(50));
  }
  const rest = new Uint8Array(expected(0).buffer).subarray(150, PAGE - 50);
  t.strictSame(view.bytes(150, PAGE - 200), rest);
  t.strictSame(states(), [MAPPED, MISSING, MISSING, MISSING]);
});

for (const delivery of ['exit', 'handler'] as const) {
  eachBacking(
    `${delivery}: a part is zeroed also when the kernel has unmapped the page meanwhile`,
    { ...options, of: ({ fill }) => fill === 'continue' },
    (t, backing, bytes) => {
      const { trap, view, discard, bringIn } = setUp(t, backing, bytes, { delivery });
      bringIn(0, 1);
      trap.forget(0, bytes);
      t.strictSame(discard(0, 50, { partial: 'zero' }), { units: 0, zeroedBytes: 50 });
      trap.resolver({ caller: 'handler' }).resolve(0); // mapped again, wherever it was zeroed
      t.strictSame(view.bytes(0, 50), new Uint8Array(50));
      t.strictSame(view.bytes(50, 50), new Uint8Array(expected(0).buffer).subarray(50, 100));
    },
  );
}

t.test('a part whose rest cannot be had is an error, and stays what it was', options, async (t) => {
  const context = { bringIn: () => false };
  const { discard, view, states } = setUp(t, BACKINGS.shmem, 4 * PAGE, { context });
  t.throws(() => discard(PAGE, 100, { partial: 'zero' }), {
    code: 'guest',
    message: /GPA 0x1000 cannot be zeroed/,
  });
  t.strictSame(states(), Array(4).fill(MISSING));
  t.strictSame(view.units(), Array(4).fill('EFAULT'));
  t.strictSame(discard(PAGE, PAGE), { units: 0, zeroedBytes: 0 }, 'nothing is left claimed');
});
