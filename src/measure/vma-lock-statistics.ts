import { readFileSync } from 'node:fs';

/** What becomes of page faults that try to do with the lock of one VMA, since the host was booted. */
export interface VmaLockStatistics {
  readonly success: number;
  readonly abort: number;
  readonly retry: number;
  readonly miss: number;
}

/** Those of the host, or why it has none: CONFIG_PER_VMA_LOCK_STATS (6.4), off in most kernels. */
export function readVmaLockStatistics(
  read: () => string = () => readFileSync('/proc/vmstat', 'utf8'),
): VmaLockStatistics | string {
  const text = read();
  const figure = (name: keyof VmaLockStatistics): number =>
    Number(new RegExp(`^vma_lock_${name} (\\d+)$`, 'm').exec(text)?.[1]);
  const found: VmaLockStatistics = {
    success: figure('success'),
    abort: figure('abort'),
    retry: figure('retry'),
    miss: figure('miss'),
  };
  return Object.values(found).some(Number.isNaN)
    ? 'this kernel has no vma_lock_* in /proc/vmstat (CONFIG_PER_VMA_LOCK_STATS)'
    : found;
}
