import { disturbanceOf } from '../../src/measure/other-load.js';
import { wrapText } from '../../src/report/table.js';

/** How many of a bench's runs other processes disturbed, in a sentence; null where none was. */
export function describeDisturbance(
  runs: readonly { readonly otherCpus: number | null }[],
): string | null {
  const { disturbed, told } = disturbanceOf(runs);
  const short = runs.length - told;
  const untold = short === 0 ? '' : ` ${short} more were too short to tell.`;
  if (disturbed > 0) {
    return wrapText(
      `${disturbed} of ${told} runs were disturbed: other processes used more than a tenth of a CPU meanwhile.${untold}`,
    );
  }
  return short === 0
    ? null
    : `${short} of ${runs.length} runs were too short to tell whether others disturbed them.`;
}
