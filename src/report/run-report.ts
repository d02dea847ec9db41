import type { RunResult } from '../machine/run-result.js';
import { isDisturbed } from '../measure/other-load.js';
import { describeNetwork } from '../source/network-link.js';
import { count, figure } from './figures.js';
import { textList } from './table.js';

function describeSource(config: RunResult['config']): string {
  const { source, network, delayMicroseconds, failSource } = config;
  const over = network === null ? '' : ` over a network of ${describeNetwork(network)}`;
  const later = delayMicroseconds === 0 ? '' : `, each page ${delayMicroseconds} µs later`;
  const failing = failSource.length === 0 ? '' : `, made to fail (${failSource.join(', ')})`;
  return `${source}${over}${later}${failing}`;
}

const DONE: Readonly<Record<string, string>> = {
  prefetch: 'units brought in',
  discard: 'units discarded',
  collapse: 'blocks collapsed',
  writer: 'changes of the address space',
};

/** Memory errors that are listed; the JSON has more. */
const SHOWN = 8;

const hex = (value: number): string => `0x${value.toString(16)}`;

/** What became of memory besides faults, where something did. */
function describeMemory({
  hugePages,
  hugetlb,
  background,
  pages,
  memoryErrors,
}: RunResult): [string, string][] {
  const entries: [string, string][] = background.map(({ chore, count: done, calls }) => [
    chore,
    `${count(done)} ${DONE[chore]} by ${count(calls)} calls`,
  ]);
  if (pages.discarded !== null) {
    entries.push(['discarded', `${count(pages.discarded)} touched pages are not there any more`]);
  }
  for (const { vcpu, gpa, rip, cause, errno, injected } of memoryErrors.records.slice(0, SHOWN)) {
    const told = injected ? ', told to the guest by a machine check' : '';
    const why = errno === null ? cause : `${cause}, ${errno}`;
    const text = `vCPU ${vcpu} at RIP ${hex(rip)}: GPA ${hex(gpa)} (${why})${told}`;
    entries.push(['memory error', text]);
  }
  if (memoryErrors.count > SHOWN) {
    entries.push(['memory errors', `${count(memoryErrors.count)} in all`]);
  }
  const { start, guestEnd, end } = hugePages.mappedBytes;
  const failures = Object.entries(hugePages.failures).map(([name, times]) => `${times} ${name}`);
  if (guestEnd !== null && end !== null && (start + guestEnd + end > 0 || failures.length > 0)) {
    const size = (bytes: number): string => `${bytes / 2 ** 20} MiB`;
    const refused = failures.length === 0 ? '' : `; refused: ${failures.join(', ')}`;
    const text = `${size(start)} mapped by huge pages before, ${size(guestEnd)} when the guest had ended, ${size(end)} now${refused}`;
    entries.push(['huge pages', text]);
  }
  if (hugetlb !== null) {
    const pool = ({ total, free, reserved, surplus }: typeof hugetlb.before): string =>
      `${total} (${free} free, ${reserved} reserved, ${surplus} surplus)`;
    const { wanted, before, created, end: last } = hugetlb;
    const text = `${wanted} pages wanted; pool ${pool(before)} before, ${pool(created)} then, ${pool(last)} at the end`;
    entries.push(['hugetlb', text]);
  }
  return entries;
}

/** A run for a person to read: its outcome first, then what its faults cost. */
export function describeRun(result: RunResult): string {
  const { config, delivery, faults, pages, perFault, latencyMicroseconds: latency } = result;
  const { startup } = result;
  const first = result.firstInstructionMicroseconds;
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
      `${result.image}, ${config.vcpus} vCPU${config.vcpus > 1 ? 's' : ''}, ${config.memoryBytes / 2 ** 20} MiB ${config.backing}, source ${describeSource(config)}`,
    ],
    [
      'delivery',
      `${delivery.used}${delivery.reportedBy === 'memory-fault' && delivery.exitBy ? ` on ${delivery.exitBy}` : ''}, reported by ${delivery.reportedBy}${delivery.requested === 'auto' ? ` (${delivery.why})` : ''}`,
    ],
    [
      'pages',
      `${count(pages.touched)} touched, ${count(pages.verified)} verified, ${count(pages.mismatched)} wrong${pages.resident === undefined ? '' : `; ${count(pages.resident)} there before the guest ran`}`,
    ],
    [
      'faults',
      `${count(faults.count)}${outcomes === '' ? '' : ` (${outcomes})`}${faults.neighbours === 0 ? '' : `, and ${count(faults.neighbours)} neighbouring units`}`,
    ],
    ...(result.source === null || result.source.retries + result.source.failures === 0
      ? []
      : ([
          [
            'source',
            `asked again ${count(result.source.retries)} times, given up ${count(result.source.failures)} times`,
          ],
        ] satisfies [string, string][])),
    [
      'first access, µs',
      latency === null
        ? 'not timed by this guest'
        : `p50 ${figure(latency.p50, 1)}  p90 ${figure(latency.p90, 1)}  p99 ${figure(latency.p99, 1)}  max ${figure(latency.max, 0)}`,
    ],
    [
      'faulting access, µs',
      first === null
        ? 'not known'
        : `p50 ${figure(first.p50, 1)}  p90 ${figure(first.p90, 1)}  p99 ${figure(first.p99, 1)}  max ${figure(first.max, 0)}`,
    ],
    [
      'per fault',
      `${figure(perFault.mmapLockAcquisitions, 2)} mmap_lock acquisitions, ${figure(perFault.contextSwitches, 2)} context switches, ${figure(perFault.syscalls, 2)} system calls`,
    ],
    [
      'µs per fault',
      `${figure(perFault.userMicroseconds, 2)} in userspace, ${figure(perFault.allocateMicroseconds, 2)} in allocating the page`,
    ],
    ...describeMemory(result),
    ...(startup === null
      ? []
      : [
          [
            'threads',
            `${startup.threads}, ready in ${figure(startup.seconds, 2)} s, ${figure(startup.bytesPerThread / 2 ** 20, 1)} MiB each`,
          ] satisfies [string, string],
        ]),
    ['pages/s', count(result.pagesPerSecond)],
    [
      'seconds',
      `${figure(result.guestSeconds, 3)} in the guest, ${figure(result.wallSeconds, 3)} in all`,
    ],
    ...(isDisturbed(result)
      ? [
          [
            'disturbed',
            `other processes used ${figure(result.otherCpus, 2)} CPUs meanwhile, or more`,
          ] satisfies [string, string],
        ]
      : []),
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
