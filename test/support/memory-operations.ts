/** What may be done to guest memory, as data that fast-check makes up; see memory-under-test.ts. */
import fc from 'fast-check';
import type { AroundPolicy } from '../../src/fault/around.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { PAGE } from './trapped-memory.js';

export interface Setup {
  readonly delivery: 'exit' | 'handler';
  readonly unitBytes: number;
  readonly around: AroundPolicy;
}

/** `page` is taken modulo the pages of memory, and ranges end with it at the latest. */
export type Operation =
  /** A vCPU touches a page and comes here. */
  | { readonly do: 'fault'; readonly page: number }
  /** Missing units from `page` on are brought in, in runs. */
  | { readonly do: 'prefetch'; readonly page: number; readonly pages: number }
  | {
      readonly do: 'discard';
      readonly page: number;
      readonly pages: number;
      /** Bytes by which start and end are off a page; 0 together with `align` for whole units. */
      readonly skew: readonly [number, number];
      readonly align: boolean;
      readonly partial: 'refuse' | 'zero';
    }
  | { readonly do: 'collapse'; readonly page: number }
  /** What was mapped is looked at, or changed, as for in-RAM MMIO. */
  | { readonly do: 'read' | 'write'; readonly page: number; readonly span: Span }
  /** The guest stores to it. */
  | { readonly do: 'store'; readonly page: number; readonly span: Span }
  /** The kernel drops page table entries of shared memory, and the guest touches the range. */
  | { readonly do: 'forget'; readonly page: number; readonly pages: number };

interface Span {
  readonly skew: number;
  readonly bytes: number;
}

const page = fc.nat(0xffff);
const pages = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 1100 }));
const skew = fc.oneof(fc.constant(0), fc.nat(PAGE - 1));
const span = fc.record({ skew: fc.nat(PAGE - 1), bytes: fc.integer({ min: 1, max: 3 * PAGE }) });

export const setups: fc.Arbitrary<Setup> = fc.record({
  delivery: fc.constantFrom('exit', 'handler'),
  unitBytes: fc.constantFrom(4096, 65536, HUGE_PAGE_BYTES),
  around: fc.constantFrom<AroundPolicy>(0, 3, 'adaptive'),
});

export const operations: fc.Arbitrary<readonly Operation[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('fault'), page }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('prefetch'), page, pages }) },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant('discard'),
        page,
        pages,
        skew: fc.tuple(skew, skew),
        align: fc.boolean(),
        partial: fc.constantFrom('refuse', 'zero'),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('collapse'), page }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('read', 'write'), page, span }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('store'), page, span }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('forget'), page, pages }) },
  ) as fc.Arbitrary<Operation>,
  { minLength: 1, maxLength: 80, size: 'max' },
);
