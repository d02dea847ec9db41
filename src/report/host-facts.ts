import type { HostDescription } from '../measure/host.js';
import { NO_FIGURE } from './figures.js';

/** A host in words: name and value of all that is known of it. */
export function hostFacts(host: HostDescription): [name: string, value: string][] {
  const { memoryBytes, paging } = host;
  return [
    ['kernel', host.kernel],
    ['KVM module', host.kvmModule ?? NO_FIGURE],
    [
      'guest paging',
      paging === null ? NO_FIGURE : `by ${paging === 'shadow' ? 'shadow pages' : 'hardware'}`,
    ],
    ['CPUs', String(host.cpus)],
    ['CPU model', host.cpuModel ?? NO_FIGURE],
    ['memory', memoryBytes === undefined ? NO_FIGURE : `${(memoryBytes / 2 ** 30).toFixed(1)} GiB`],
    ['Node', host.node],
    ['faultline', host.version],
  ];
}
