import type { ChoreSpec } from '../fault/chores.js';
import type { Machine } from './machine.js';

/** What is to be done in the background of a machine's run. */
export function choresOf({ config, workload }: Machine): ChoreSpec[] {
  const specs: ChoreSpec[] = [];
  if (config.prefetch !== null) {
    specs.push({ kind: 'prefetch', ...config.prefetch });
  }
  if (config.discard !== null && workload.discardable !== null) {
    specs.push({ kind: 'discard', ...config.discard, ...workload.discardable });
  }
  if (config.collapse === 'complete') {
    specs.push({ kind: 'collapse' });
  }
  const { threads, perSecond } = config.writers ?? { threads: 0, perSecond: 0 };
  for (let writer = 0; writer < threads; writer++) {
    specs.push({ kind: 'writer', perSecond });
  }
  return specs;
}
