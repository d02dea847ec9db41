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
  if (config.writers !== null) {
    const { threads, perSecond, calls } = config.writers;
    specs.push(
      ...Array.from({ length: threads }, () => ({ kind: 'writer', perSecond, calls }) as const),
    );
  }
  return specs;
}
