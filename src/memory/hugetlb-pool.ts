import { readFileSync } from 'node:fs';

/** A hugetlb pool as sysfs has it, in pages. Linux 2.6.27. */
export interface HugetlbPool {
  readonly total: number;
  readonly free: number;
  /** Free, but promised to mappings. */
  readonly reserved: number;
  /** Of `total`: beyond what was configured, given back when freed. */
  readonly surplus: number;
  /** How many surplus pages there may be. */
  readonly overcommit: number;
}

/** The pool of pages of this size; null where the kernel has no such size. */
export function readHugetlbPool(pageBytes: number): HugetlbPool | null {
  const directory = poolDirectory(pageBytes);
  const read = (name: string): number => Number(readFileSync(`${directory}/${name}`, 'utf8'));
  try {
    return {
      total: read('nr_hugepages'),
      free: read('free_hugepages'),
      reserved: read('resv_hugepages'),
      surplus: read('surplus_hugepages'),
      overcommit: read('nr_overcommit_hugepages'),
    };
  } catch {
    return null; // the directory is there for every size that the CPU and the kernel support
  }
}

/** Pages that a new mapping could still reserve. */
export function availablePages({ free, reserved, surplus, overcommit }: HugetlbPool): number {
  return free - reserved + Math.max(0, overcommit - surplus);
}

/** A shell command that makes `missing` more pages available, memory permitting. */
export function growCommand(pageBytes: number, pool: HugetlbPool, missing: number): string {
  return `echo ${pool.total - pool.surplus + missing} > ${poolDirectory(pageBytes)}/nr_hugepages`;
}

function poolDirectory(pageBytes: number): string {
  return `/sys/kernel/mm/hugepages/hugepages-${pageBytes / 1024}kB`;
}
