import type { PageSource } from './page-source.js';
import { PatternSource } from './pattern-source.js';
import { ZeroSource } from './zero-source.js';

/** A source as plain data, which workers receive. `seed` is an unsigned 32-bit number. */
export type SourceSpec =
  | { readonly kind: 'zero' }
  | { readonly kind: 'pattern'; readonly seed: number };

export const DEFAULT_SEED = 1;

/** A page source for this thread. */
export function openSource(spec: SourceSpec): PageSource {
  switch (spec.kind) {
    case 'zero':
      return new ZeroSource();
    case 'pattern':
      return new PatternSource(spec.seed);
  }
}

/** As written after `--source`. */
export function nameOfSource(spec: SourceSpec): string {
  return spec.kind === 'pattern' ? `pattern:${spec.seed}` : spec.kind;
}
