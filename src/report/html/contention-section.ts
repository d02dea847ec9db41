import type { BenchResult } from '../bench-result.js';
import type { ContentionRow, ContentionSummary } from '../contention-result.js';
import { count, disturbedText, figure, figureText } from '../figures.js';
import { drawChart } from './chart.js';
import { lockCountChart, lockTimeChart } from './lock-chart.js';
import type { Section } from './section.js';
import { htmlTable } from './table.js';

const THREADS = { vcpus: 'vCPUs', handlers: 'handlers', writers: 'writers' } as const;

export function contentionSection({ summary }: BenchResult<unknown, ContentionSummary>): Section {
  const { rows, calls, notMeasured } = summary;
  const times = lockTimeChart(rows);
  return {
    verdicts: rows.map(verdictOf),
    body: [
      rows.length === 0 ? null : drawChart(lockCountChart(rows)),
      times === null ? null : drawChart(times),
      htmlTable(
        'Per fault: medians, lowest and highest of the repetitions',
        [
          ...['what', 'vCPUs', 'handlers', 'writers', 'mmap_lock for read', 'for write'],
          ...['context switches', 'KVM exits', 'KVM_RUNs', 'retries'],
        ],
        rows.map((row) => [
          row.label,
          ...[row.vcpus, row.handlers, row.writers].map(String),
          figureText(row.read.acquisitions, 2),
          figureText(row.write.acquisitions, 2),
          figureText(row.contextSwitches, 2),
          figureText(row.kvmExits ?? null, 2),
          figureText(row.kvmRuns, 2),
          figureText(row.pageFaultRetries, 3),
        ]),
      ),
      htmlTable(
        'Throughput and times of first accesses, of runs in which nothing was traced',
        ['what', 'pages/s', 'p50 µs', 'p99 µs', 'writes/s of writers', 'verified in each'],
        rows.map((row) => [
          row.label,
          figureText(row.pagesPerSecond, 0),
          figureText(row.p50Microseconds, 1),
          figureText(row.p99Microseconds, 1),
          figureText(row.writesPerSecond, 0),
          count(row.pagesVerified),
        ]),
      ),
      htmlTable(
        'mmap_lock by threads, per fault: times in µs',
        [
          ...['what', 'threads', 'acquired for read', 'waiting', 'holding'],
          ...['acquired for write', 'waiting', 'holding'],
        ],
        rows.flatMap(({ label, byThread }) =>
          byThread.map(({ threads, read, write }) => [
            label,
            THREADS[threads],
            ...[read, write].flatMap((share) => [
              figureText(share.acquisitions, 3),
              figureText(share.waitMicroseconds, 2),
              figureText(share.holdMicroseconds, 2),
            ]),
          ]),
        ),
        2,
      ),
      calls.length === 0
        ? null
        : htmlTable(
            'mmap_lock taken by single calls on this kernel',
            ['call', 'note', 'calls counted', 'for read, each', 'for write, each'],
            calls.map(({ call, calls: times, read, write, note }) => [
              call,
              note,
              count(times),
              figure(read, 2),
              figure(write, 2),
            ]),
            2,
          ),
    ],
    notMeasured: Object.entries(notMeasured).map(([name, why]) => `${name}: ${why}`),
    disturbed: rows
      .filter(({ disturbed }) => disturbed > 0)
      .map((row) => {
        return `${row.label}: ${disturbedText(row)} timed runs`;
      }),
  };
}

function verdictOf({ label, read, write, contextSwitches }: ContentionRow): string {
  const locks = read.acquisitions.median + write.acquisitions.median;
  const switches =
    contextSwitches === null
      ? 'context switches are not known'
      : `${figure(contextSwitches.median, 2)} context switches`;
  const waits = [read.waitMicroseconds, write.waitMicroseconds];
  const waiting = waits.every((wait) => wait !== null)
    ? `, ${figure(waits[0]!.median + waits[1]!.median, 1)} µs of it waiting for the lock`
    : '';
  return `${label}: a fault takes mmap_lock ${figure(locks, 2)} times, with ${switches}${waiting}.`;
}
