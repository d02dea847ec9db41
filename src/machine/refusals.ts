import type { AroundPolicy } from '../fault/around.js';
import { BACKINGS, type BackingTraits, fileBacking } from '../memory/backing.js';
import { formatSize, HUGE_PAGE_BYTES } from '../memory/sizes.js';

/** When complete blocks of 2 MiB are made huge pages again. */
export const COLLAPSE_POLICIES = ['never', 'complete', 'end'] as const;
export type CollapsePolicy = (typeof COLLAPSE_POLICIES)[number];

/** The most that one fault brings in, its neighbours included. */
export const MOST_RUN_BYTES = 64 * 2 ** 20;

/** What is asked of a kind of memory; what is left out is not asked. */
export interface Wish {
  readonly delivery?: 'kernel' | 'handler' | 'exit';
  readonly unitBytes?: number;
  readonly around?: AroundPolicy;
  readonly collapse?: CollapsePolicy;
  readonly prefetch?: boolean;
  readonly network?: boolean;
  readonly delay?: boolean;
  readonly failSource?: boolean;
  readonly discard?: boolean;
  readonly poison?: boolean;
  readonly uffds?: 'one' | 'per-vcpu';
  readonly reserve?: boolean;
}

/** Why memory of this kind cannot be had under a delivery, or null. */
export function whyNoDelivery(
  backing: BackingTraits,
  delivery: NonNullable<Wish['delivery']>,
): string | null {
  return delivery !== 'kernel' && backing.uffdModes === 0
    ? 'userfaultfd takes anonymous memory, shmem (tmpfs) and hugetlbfs; the pages of other file systems are brought in by the kernel'
    : null;
}

/** A rule: what it refuses, in words and for a wish. */
interface Rule {
  /** The option that cannot be used as given. */
  readonly flag: string;
  readonly refuses: (backing: BackingTraits, wish: Wish) => string | null;
}

const RULES: readonly Rule[] = [
  {
    flag: '--delivery',
    refuses: (backing, { delivery }) =>
      delivery === undefined ? null : whyNoDelivery(backing, delivery),
  },
  {
    flag: '--unit',
    refuses: ({ pageBytes, largestUnitBytes }, { unitBytes }) => {
      if (unitBytes === undefined) {
        return null;
      }
      if (unitBytes < pageBytes) {
        return `its pages are ${formatSize(pageBytes)}, and nothing smaller can be mapped`;
      }
      return unitBytes > largestUnitBytes
        ? `the largest unit is ${formatSize(largestUnitBytes)}`
        : null;
    },
  },
  {
    flag: '--around',
    refuses: ({ pageBytes }, { around, unitBytes = pageBytes, delivery }) => {
      if (around === undefined || around === 0) {
        return null;
      }
      if (delivery === 'kernel') {
        return 'under delivery kernel no fault is ours to bring neighbours in with';
      }
      const units = around === 'adaptive' ? 2 : around + 1;
      return units * unitBytes > MOST_RUN_BYTES
        ? `one fault brings in ${formatSize(MOST_RUN_BYTES)} at most`
        : null;
    },
  },
  {
    flag: '--collapse',
    refuses: ({ collapsible, hugetlb, uffdModes }, { collapse }) => {
      if (collapse === undefined || collapse === 'never' || collapsible) {
        return null;
      }
      if (hugetlb) {
        return 'its pages are huge already';
      }
      return uffdModes === 0
        ? 'MADV_COLLAPSE works on anonymous memory and shmem'
        : 'a write to a private mapping of a file splits its huge page again';
    },
  },
  {
    flag: '--prefetch',
    refuses: (_backing, { prefetch, delivery }) =>
      prefetch && delivery === 'kernel' ? 'every page is there beforehand' : null,
  },
  {
    flag: '--network',
    refuses: (_backing, { network, delivery }) =>
      network && delivery === 'kernel' ? 'every page is there beforehand' : null,
  },
  {
    flag: '--delay-microseconds',
    refuses: (_backing, { delay, delivery }) =>
      delay && delivery === 'kernel' ? 'every page is there beforehand' : null,
  },
  {
    flag: '--fail-source',
    refuses: (_backing, { failSource, delivery }) =>
      failSource && delivery === 'kernel' ? 'every page is there beforehand' : null,
  },
  {
    flag: '--discard',
    refuses: ({ uffdModes }, { discard, delivery }) =>
      discard && (uffdModes === 0 || delivery === 'kernel')
        ? 'where nothing is trapped, nobody would supply the contents again'
        : null,
  },
  {
    flag: '--poison',
    refuses: (_backing, { poison, delivery }) =>
      poison && delivery === 'kernel'
        ? 'where nothing is trapped, no page can be made to fail'
        : null,
  },
  {
    flag: '--uffds',
    refuses: (_backing, { uffds, delivery }) =>
      uffds === 'per-vcpu' && delivery === 'kernel'
        ? 'nothing is trapped, by any userfaultfd'
        : null,
  },
  {
    flag: '--no-reserve',
    refuses: ({ hugetlb }, { reserve }) =>
      reserve === false && !hugetlb ? 'only hugetlb memory is reserved' : null,
  },
];

/** Why memory of this kind cannot do what is wished, by the option concerned; null if it can. */
export function whyRefused(
  backing: BackingTraits,
  wish: Wish,
): { readonly flag: string; readonly reason: string } | null {
  for (const { flag, refuses } of RULES) {
    const reason = refuses(backing, wish);
    if (reason !== null) {
      return { flag, reason };
    }
  }
  return null;
}

/** A combination that is refused, for the table in the README. */
export interface Refusal {
  readonly backings: readonly string[] | 'every';
  readonly flag: string;
  /** What the flag was given, one or more. */
  readonly values: readonly string[];
  readonly reason: string;
}

/** What is tried for the table: the flag that may be refused, how it is given, and with what. */
const WISHES: readonly (readonly [flag: string, as: string, wish: Wish])[] = [
  ['--delivery', 'handler', { delivery: 'handler' }],
  ['--delivery', 'exit', { delivery: 'exit' }],
  ['--unit', '4K', { unitBytes: 4096 }],
  ['--unit', '64K', { unitBytes: 65536 }],
  ['--unit', '2M', { unitBytes: HUGE_PAGE_BYTES }],
  ['--around', 'N', { around: 1, delivery: 'exit' }],
  ['--around', 'N with --delivery kernel', { around: 1, delivery: 'kernel' }],
  ['--collapse', 'complete', { collapse: 'complete' }],
  ['--collapse', 'end', { collapse: 'end' }],
  ['--prefetch', 'background with --delivery kernel', { prefetch: true, delivery: 'kernel' }],
  ['--network', 'RATE with --delivery kernel', { network: true, delivery: 'kernel' }],
  ['--delay-microseconds', 'N with --delivery kernel', { delay: true, delivery: 'kernel' }],
  ['--fail-source', 'WHAT with --delivery kernel', { failSource: true, delivery: 'kernel' }],
  ['--discard', 'background with --delivery kernel', { discard: true, delivery: 'kernel' }],
  ['--poison', 'GPA with --delivery kernel', { poison: true, delivery: 'kernel' }],
  ['--uffds', 'per-vcpu with --delivery kernel', { uffds: 'per-vcpu', delivery: 'kernel' }],
  ['--no-reserve', '', { reserve: false }],
];

/** One backing of every kind, those named by a path included. */
export function exampleBackings(): readonly BackingTraits[] {
  const onDisk = (sharing: 'shared' | 'private'): BackingTraits =>
    fileBacking('PATH', sharing, 'regular', 4096);
  return [...Object.values(BACKINGS), onDisk('shared'), onDisk('private')];
}

/** All that is refused, with the reason: what is the same for several backings is one entry. */
export function listRefusals(): readonly Refusal[] {
  const all = exampleBackings();
  const found = WISHES.flatMap(([flag, value, wish]) => {
    const refused = all.flatMap((backing) => {
      const refusal = whyRefused(backing, wish);
      return refusal?.flag === flag ? [{ name: backing.name, reason: refusal.reason }] : [];
    });
    return groupBy(refused, ({ reason }) => reason).map((group) => ({
      flag,
      value,
      reason: group[0]!.reason,
      names: group.map(({ name }) => name),
    }));
  });
  return groupBy(found, ({ flag, reason, names }) => [flag, reason, ...names].join()).map(
    (group) => {
      const { flag, reason, names } = group[0]!;
      const backings = names.length === all.length ? 'every' : names;
      return { backings, flag, values: group.map(({ value }) => value), reason };
    },
  );
}

function groupBy<Item>(items: readonly Item[], key: (item: Item) => string): Item[][] {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  }
  return [...groups.values()];
}
