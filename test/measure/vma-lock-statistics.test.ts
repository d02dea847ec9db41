import t from 'tap';
import { readVmaLockStatistics } from '../../src/measure/vma-lock-statistics.js';

t.test('all four, or the reason why there are none', async (t) => {
  const text =
    'nr_free 5\nvma_lock_success 12\nvma_lock_abort 3\nvma_lock_retry 4\nvma_lock_miss 0\n';
  t.strictSame(
    readVmaLockStatistics(() => text),
    { success: 12, abort: 3, retry: 4, miss: 0 },
  );
  t.match(
    readVmaLockStatistics(() => text.replace('vma_lock_miss', 'vma_lock_hit')),
    /CONFIG_PER_VMA_LOCK_STATS/,
  );
  const here = readVmaLockStatistics();
  t.ok(typeof here === 'string' || here.success >= 0, 'on this host either');
});
