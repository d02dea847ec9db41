import { FaultySource, type SourceFault } from './faulty-source.js';
import { type LoadedPages, LoadedSource } from './loaded-source.js';
import { allocateLink, type Network, openLink } from './network-link.js';
import { NetworkSource } from './network-source.js';
import type { PageSource } from './page-source.js';
import { PatternSource } from './pattern-source.js';
import { RetryingSource } from './retrying-source.js';
import { SourceControl } from './source-control.js';
import { ZeroSource } from './zero-source.js';

/** Contents as plain data. `seed` is an unsigned 32-bit number. */
export type ContentsSpec =
  | { readonly kind: 'zero' }
  | { readonly kind: 'pattern'; readonly seed: number };

/** A source as plain data, which workers receive. What threads share of it is in shared memory. */
export type SourceSpec = ContentsSpec | LoadedSpec | NetworkSpec | FaultySpec | RetryingSpec;

/** Contents, but for pages that were put there: an image that is demand-paged. */
export interface LoadedSpec extends LoadedPages {
  readonly kind: 'loaded';
  readonly of: ContentsSpec;
}

/** Contents that come over a network; `link` is one for all threads (`allocateLink`). */
export interface NetworkSpec extends Network {
  readonly kind: 'network';
  readonly of: SourceSpec;
  readonly link: SharedArrayBuffer;
}

/** A source that misbehaves; `counts` from `FaultySource.allocate`, `control` from `SourceControl.allocate`. */
export interface FaultySpec {
  readonly kind: 'faulty';
  readonly of: SourceSpec;
  readonly faults: readonly SourceFault[];
  readonly counts: SharedArrayBuffer;
  readonly control: SharedArrayBuffer;
}

/** A source that is asked again when it fails, up to `retries` times. */
export interface RetryingSpec {
  readonly kind: 'retrying';
  readonly of: SourceSpec;
  readonly retries: number;
  readonly control: SharedArrayBuffer;
}

export const DEFAULT_SEED = 1;

/** A page source for this thread. */
export function openSource(spec: SourceSpec): PageSource {
  switch (spec.kind) {
    case 'zero':
      return new ZeroSource();
    case 'pattern':
      return new PatternSource(spec.seed);
    case 'loaded':
      return new LoadedSource(openSource(spec.of), spec);
    case 'network':
      return new NetworkSource(openSource(spec.of), openLink(spec.link, spec));
    case 'faulty':
      return new FaultySource(
        openSource(spec.of),
        spec.faults,
        spec.counts,
        new SourceControl(spec.control),
      );
    case 'retrying':
      return new RetryingSource(openSource(spec.of), spec.retries, new SourceControl(spec.control));
  }
}

/** Waits, but not so long that a rehearsal would notice. */
const NEARBY: Network = { bitsPerSecond: 1e12, latencyMicroseconds: 1 };

/**
 * A source of the same code to practise with: one that comes over a network does so over a short one
 * of its own, and nothing fails.
 */
export function openRehearsalSource(spec: SourceSpec): PageSource {
  return openSource(rehearsalOf(spec));
}

function rehearsalOf(spec: SourceSpec): SourceSpec {
  switch (spec.kind) {
    case 'zero':
    case 'pattern':
    case 'loaded':
      return spec;
    case 'network':
      return { ...spec, ...NEARBY, of: rehearsalOf(spec.of), link: allocateLink() };
    case 'faulty':
      return { ...spec, of: rehearsalOf(spec.of), faults: [] };
    case 'retrying':
      return { ...spec, of: rehearsalOf(spec.of) };
  }
}

/** As written after `--source`. */
export function nameOfSource(spec: ContentsSpec): string {
  return spec.kind === 'pattern' ? `pattern:${spec.seed}` : spec.kind;
}
