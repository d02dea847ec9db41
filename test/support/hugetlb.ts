/** Hugetlb pages for a test, from a pool that is afterwards as it was before. */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import { formatSize } from '../../src/memory/sizes.js';

/**
 * Makes sure that `pages` pages are free and unreserved in the pool of this size until the test ends,
 * well or not; a process that watches this one restores the pool should it be killed.
 *
 * @returns false when the host cannot give them: the test is then skipped, with the reason
 */
export function withHugetlbPages(t: Test, pageBytes: number, pages: number): boolean {
  const pool = `/sys/kernel/mm/hugepages/hugepages-${pageBytes / 1024}kB`;
  const read = (name: string): number => Number(readFileSync(`${pool}/${name}`, 'utf8'));
  const wanted = `${pages} hugetlb pages of ${formatSize(pageBytes)}`;
  let before: number;
  let grown: number;
  try {
    before = read('nr_hugepages');
    grown = before - (read('free_hugepages') - read('resv_hugepages')) + pages;
    restoreWhenOrphaned(t, `${pool}/nr_hugepages`, before);
    writeFileSync(`${pool}/nr_hugepages`, String(Math.max(before, grown)));
  } catch (error) {
    t.plan(0, `needs ${wanted}: ${(error as Error).message}`);
    return false;
  }
  if (read('nr_hugepages') < grown) {
    t.plan(0, `needs ${wanted}, and the kernel gives no more than ${read('nr_hugepages')}`);
    return false;
  }
  return true;
}

/** Writes `value` to a file when the test ends, or when this process does. */
function restoreWhenOrphaned(t: Test, path: string, value: number): void {
  const script = 'read -r _; echo "$1" > "$2"'; // until the pipe is closed, by whatever end
  const watcher = spawn('sh', ['-c', script, 'sh', String(value), path], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // a signal to our process group is not meant for it
  });
  watcher.unref();
  t.teardown(() => {
    writeFileSync(path, String(value));
    watcher.kill('SIGKILL');
    watcher.stdin.destroy();
  });
}
