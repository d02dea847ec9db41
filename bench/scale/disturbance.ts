import { isDisturbed } from '../../src/measure/other-load.js';

/** How many of a bench's runs other processes disturbed, in a sentence; null of none. */
export function describeDisturbance(
  runs: readonly { readonly otherCpus: number | null }[],
): string | null {
  const disturbed = runs.filter(isDisturbed).length;
  return disturbed === 0
    ? null
    : `${disturbed} of ${runs.length} runs were disturbed: other processes used more than a tenth of a CPU meanwhile.`;
}
