import type { RunResult } from '../machine/run-result.js';
import { count, figure } from './figures.js';
import { textList } from './table.js';

/** A run for a person to read: its outcome first, then what its faults cost. */
export function describeRun(result: RunResult): string {
  const { config, delivery, faults, pages, perFault, latencyMicroseconds: latency } = result;
  const outcomes = Object.entries(faults.outcomes)
    .filter(([, times]) => times > 0)
    .map(([name, times]) => `${count(times)} ${name}`)
    .join(', ');
  const entries: [string, string][] = [
    [
      'outcome',
      result.error === null ? result.outcome : `${result.outcome}: ${result.error.message}`,
    ],
    [
      'guest',
      `${result.image}, ${config.vcpus} vCPU${config.vcpus > 1 ? 's' : ''}, ${config.memoryBytes / 2 ** 20} MiB ${config.backing}, source ${config.source}`,
    ],
    [
      'delivery',
      `${delivery.used}, reported by ${delivery.reportedBy}${delivery.requested === 'auto' ? ` (${delivery.why})` : ''}`,
    ],
    [
      'pages',
      `${count(pages.touched)} touched, ${count(pages.verified)} verified, ${count(pages.mismatched)} wrong`,
    ],
    ['faults', `${count(faults.count)}${outcomes === '' ? '' : ` (${outcomes})`}`],
    [
      'first access, µs',
      latency === null
        ? 'not timed by this guest'
        : `p50 ${figure(latency.p50, 1)}  p90 ${figure(latency.p90, 1)}  p99 ${figure(latency.p99, 1)}  max ${figure(latency.max, 0)}`,
    ],
    [
      'per fault',
      `${figure(perFault.mmapLockAcquisitions, 2)} mmap_lock acquisitions, ${figure(perFault.contextSwitches, 2)} context switches, ${figure(perFault.syscalls, 2)} system calls`,
    ],
    [
      'µs per fault',
      `${figure(perFault.userMicroseconds, 2)} in userspace, ${figure(perFault.allocateMicroseconds, 2)} in allocating the page`,
    ],
    ['pages/s', count(result.pagesPerSecond)],
    [
      'seconds',
      `${figure(result.guestSeconds, 3)} in the guest, ${figure(result.wallSeconds, 3)} in all`,
    ],
    [
      'host',
      `Linux ${result.host.kernel}, ${result.host.kvmModule ?? 'unknown KVM module'}, ${result.host.paging ?? 'unknown'} paging, ${result.host.cpus} CPUs`,
    ],
  ];
  const hints = result.error?.hint ? [`\n${result.error.hint}`] : [];
  const reasons = Object.entries(result.notMeasured).map(
    ([name, why]) => `\n${name}: not measured, ${why}`,
  );
  return [textList(entries), ...hints, ...reasons].join('');
}
