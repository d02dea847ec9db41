import t from 'tap';
import {
  exampleBackings,
  listRefusals,
  type Wish,
  whyRefused,
} from '../../src/machine/refusals.js';
import { BACKINGS, fileBacking } from '../../src/memory/backing.js';

const MIB = 2 ** 20;
const onDisk = fileBacking('PATH', 'shared', 'regular', 4096);

t.test('what is not asked for is not refused', async (t) => {
  for (const backing of exampleBackings()) {
    t.equal(whyRefused(backing, {}), null, backing.name);
    const nothing = {
      around: 0,
      collapse: 'never',
      prefetch: false,
      discard: false,
      reserve: true,
    };
    t.equal(whyRefused(backing, { ...nothing, delivery: 'kernel' } as Wish), null);
  }
});

for (const [flag, backing, wish, reason] of [
  ['--delivery', onDisk, { delivery: 'exit' }, /userfaultfd takes/],
  ['--delivery', onDisk, { delivery: 'handler' }, /userfaultfd takes/],
  ['--unit', BACKINGS['hugetlb-2M'], { unitBytes: 65536 }, /its pages are 2M/],
  ['--unit', BACKINGS['hugetlb-2M'], { unitBytes: 4 * MIB }, /largest unit is 2M/],
  ['--unit', BACKINGS['hugetlb-1G'], { unitBytes: 2 * MIB }, /its pages are 1G/],
  ['--unit', BACKINGS.shmem, { unitBytes: 4 * MIB }, /largest unit is 2M/],
  ['--around', BACKINGS.shmem, { around: 1, delivery: 'kernel' }, /delivery kernel/],
  ['--around', BACKINGS.shmem, { around: 'adaptive', delivery: 'kernel' }, /delivery kernel/],
  ['--around', BACKINGS.shmem, { around: 16384 }, /64M at most/],
  ['--around', BACKINGS.shmem, { around: 32, unitBytes: 2 * MIB }, /64M at most/],
  ['--around', BACKINGS['hugetlb-1G'], { around: 1 }, /64M at most/],
  ['--around', BACKINGS['hugetlb-1G'], { around: 'adaptive' }, /64M at most/],
  ['--collapse', BACKINGS['hugetlb-2M'], { collapse: 'complete' }, /huge already/],
  ['--collapse', BACKINGS['shmem-private'], { collapse: 'end' }, /splits its huge page/],
  ['--collapse', onDisk, { collapse: 'end' }, /anonymous memory and shmem/],
  ['--prefetch', BACKINGS.shmem, { prefetch: true, delivery: 'kernel' }, /beforehand/],
  ['--network', BACKINGS.shmem, { network: true, delivery: 'kernel' }, /beforehand/],
  ['--delay-microseconds', BACKINGS.shmem, { delay: true, delivery: 'kernel' }, /beforehand/],
  ['--fail-source', BACKINGS.shmem, { failSource: true, delivery: 'kernel' }, /beforehand/],
  ['--discard', BACKINGS.shmem, { discard: true, delivery: 'kernel' }, /nothing is trapped/],
  ['--discard', onDisk, { discard: true }, /nothing is trapped/],
  ['--no-reserve', BACKINGS.shmem, { reserve: false }, /only hugetlb/],
] as const) {
  t.test(`${backing.name} refuses ${JSON.stringify(wish)} by ${flag}`, async (t) => {
    t.match(whyRefused(backing, wish), { flag, reason });
  });
}

t.test('what is just inside is not refused', async (t) => {
  for (const [backing, wish] of [
    [BACKINGS.shmem, { around: 16383 }],
    [BACKINGS.shmem, { around: 31, unitBytes: 2 * MIB }],
    [BACKINGS['hugetlb-2M'], { around: 'adaptive', reserve: false, unitBytes: 2 * MIB }],
    [BACKINGS['hugetlb-1G'], { unitBytes: 2 ** 30, around: 0 }],
    [BACKINGS['anon-private'], { collapse: 'complete', discard: true, prefetch: true }],
    [onDisk, { delivery: 'kernel' }],
  ] as const) {
    t.equal(whyRefused(backing, wish), null, `${backing.name} ${JSON.stringify(wish)}`);
  }
});

t.test(
  'the list names every refused backing once a row, and what all refuse as such',
  async (t) => {
    const rows = listRefusals();
    const flags = new Set(rows.map(({ flag }) => flag));
    t.strictSame(flags.size, 12, 'every rule has a row');
    for (const { backings, values, reason } of rows) {
      t.ok(values.length > 0 && reason !== '');
      t.ok(backings === 'every' || new Set(backings).size === backings.length);
    }
    const kernel = rows.find(({ flag }) => flag === '--prefetch');
    t.equal(kernel?.backings, 'every');
  },
);
