/**
 * Settings of the host that tests change: put back when the test is done, also when it fails, and by
 * another process when its own is killed (see host-debts.ts).
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import { readHugetlbPool } from '../../src/memory/hugetlb-pool.js';
import { rootSkip } from './host.js';
import { owe, quoted } from './host-debts.js';

const HUGETLB = '/sys/kernel/mm/hugepages';
const THP = '/sys/kernel/mm/transparent_hugepage';
export const KHUGEPAGED = `${THP}/khugepaged`;
export const THP_ENABLED = `${THP}/enabled`;
export const SHMEM_ENABLED = `${THP}/shmem_enabled`;

/** What a knob is set to: the word in brackets of a choice, else all of it. */
export function readKnob(path: string): string {
  const text = readFileSync(path, 'utf8').trim();
  return /\[(.+)\]/.exec(text)?.[1] ?? text;
}

/**
 * Sets a knob.
 *
 * @returns what sets it back, once
 * @throws when it does not take the value; it is then as it was
 */
export function changeKnob(path: string, value: string | number): () => void {
  const before = readKnob(path);
  const restore = owe(() => set(path, before), `echo ${quoted(before)} > ${quoted(path)}`);
  try {
    set(path, String(value));
    return restore;
  } catch (error) {
    restore();
    throw error;
  }
}

/**
 * Sets a knob for as long as `body` takes.
 *
 * @throws what `body` throws, and when the knob does not take the value or its former one again
 */
export async function withKnob<Result>(
  path: string,
  value: string | number,
  body: () => Promise<Result> | Result,
): Promise<Result> {
  const restore = changeKnob(path, value);
  try {
    return await body();
  } finally {
    restore();
  }
}

/** Sets several, the first first. */
export function withKnobs<Result>(
  knobs: Readonly<Record<string, string | number>>,
  body: () => Promise<Result> | Result,
): Promise<Result> {
  return Object.entries(knobs).reduceRight<() => Promise<Result>>(
    (inner, [path, value]) =>
      () =>
        withKnob(path, value, inner),
    async () => body(),
  )();
}

function set(path: string, value: string): void {
  writeFileSync(path, value);
  const now = readKnob(path);
  if (now !== value) {
    throw new Error(`${path} is ${now}, and was to be ${value}`);
  }
}

/** The file that sets the size of a hugetlb pool. */
export function poolKnob(pageBytes: number): string {
  return `${HUGETLB}/hugepages-${pageBytes / 1024}kB/nr_hugepages`;
}

/**
 * Makes sure of at least `pages` free, unreserved pages in a hugetlb pool.
 *
 * @returns what gives them back, once
 * @throws where they cannot be had
 */
export function growHugetlbPool(pageBytes: number, pages: number): () => void {
  const { total, free, reserved } = readHugetlbPool(pageBytes)!;
  return changeKnob(poolKnob(pageBytes), Math.max(total, total + pages - (free - reserved)));
}

/** The same for as long as `body` takes. Skip with {@link hugetlbSkip} where they cannot be had. */
export async function withHugetlbPages<Result>(
  pageBytes: number,
  pages: number,
  body: () => Promise<Result> | Result,
): Promise<Result> {
  const restore = growHugetlbPool(pageBytes, pages);
  try {
    return await body();
  } finally {
    restore();
  }
}

/** Why that many hugetlb pages cannot be had here, or false: it is tried. */
export async function hugetlbSkip(pageBytes: number, pages: number): Promise<string | false> {
  const wanted = `needs ${pages} hugetlb pages of ${pageBytes / 2 ** 20} MiB`;
  if (readHugetlbPool(pageBytes) === null) {
    return `${wanted}, which this kernel or CPU does not have`;
  }
  try {
    return rootSkip() || (await withHugetlbPages(pageBytes, pages, () => false));
  } catch (error) {
    return `${wanted}: ${(error as Error).message}`;
  }
}

/** What of this host the tests here may change, as text by name. */
export function hostState(): Record<string, string> {
  const state: Record<string, string> = {
    mounts: readFileSync('/proc/self/mountinfo', 'utf8'),
    // Used space comes and goes by itself.
    swaps: readFileSync('/proc/swaps', 'utf8').replace(/(\S+\s+\S+\s+\d+)\s+\d+/g, '$1'),
  };
  const folders = [THP, KHUGEPAGED, ...list(HUGETLB).map((size) => `${HUGETLB}/${size}`)];
  for (const path of folders.flatMap((folder) => list(folder).map((name) => `${folder}/${name}`))) {
    // Counters; a folder; write-only.
    if (!/\/(full_scans|pages_collapsed|khugepaged|hugepages-\d+kB|demote)$/.test(path)) {
      state[path] = readFileSync(path, 'utf8').trim();
    }
  }
  return state;
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // a kernel without it
  }
}

/** A test body that also checks, failed or not, that the host is afterwards as it was before. */
export function leavesHostAlone(body: (t: Test) => Promise<void>): (t: Test) => Promise<void> {
  return async (t) => {
    const before = hostState();
    try {
      await body(t);
    } finally {
      t.strictSame(hostState(), before, 'the host is as it was');
    }
  };
}
