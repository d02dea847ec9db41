import { allocateLink, type Network, openLink } from './network-link.js';
import { NetworkSource } from './network-source.js';
import type { PageSource } from './page-source.js';
import { PatternSource } from './pattern-source.js';
import { ZeroSource } from './zero-source.js';

/** Contents as plain data. `seed` is an unsigned 32-bit number. */
export type ContentsSpec =
  | { readonly kind: 'zero' }
  | { readonly kind: 'pattern'; readonly seed: number };

/** A source as plain data, which workers receive. */
export type SourceSpec = ContentsSpec | NetworkSpec;

/** Contents that come over a network; `link` is one for all threads (`allocateLink`). */
export interface NetworkSpec extends Network {
  readonly kind: 'network';
  readonly of: ContentsSpec;
  readonly link: SharedArrayBuffer;
}

export const DEFAULT_SEED = 1;

/** A page source for this thread. */
export function openSource(spec: SourceSpec): PageSource {
  switch (spec.kind) {
    case 'zero':
      return new ZeroSource();
    case 'pattern':
      return new PatternSource(spec.seed);
    case 'network':
      return new NetworkSource(openSource(spec.of), openLink(spec.link, spec));
  }
}

/** Waits, but not so long that a rehearsal would notice. */
const NEARBY: Network = { bitsPerSecond: 1e12, latencyMicroseconds: 1 };

/**
 * A source of the same code to practise with: one that comes over a network does so over a short one
 * of its own.
 */
export function openRehearsalSource(spec: SourceSpec): PageSource {
  return openSource(spec.kind === 'network' ? { ...spec, ...NEARBY, link: allocateLink() } : spec);
}

/** As written after `--source`. */
export function nameOfSource(spec: ContentsSpec): string {
  return spec.kind === 'pattern' ? `pattern:${spec.seed}` : spec.kind;
}
