import * as uapi from '../uapi/userfaultfd.js';

const PREFIX = 'UFFD_FEATURE_';

/** Every UFFD_FEATURE_* by its kernel name without the prefix, in bit order. */
export const UFFD_FEATURES: readonly (readonly [name: string, bit: number])[] =
  Object.entries<unknown>(uapi)
    .flatMap(([name, bit]): [string, number][] =>
      name.startsWith(PREFIX) && typeof bit === 'number' ? [[name.slice(PREFIX.length), bit]] : [],
    )
    .sort((a, b) => a[1] - b[1]);

/** Names of the bits that are wanted and not offered. */
export function missingFeatures(offered: number, wanted: number): string[] {
  return UFFD_FEATURES.filter(([, bit]) => (wanted & bit) !== 0 && (offered & bit) === 0).map(
    ([name]) => name,
  );
}
