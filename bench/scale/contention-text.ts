import type { BenchResult, Figure } from '../../src/report/bench-result.js';
import type {
  CallLocks,
  ContentionRow,
  ContentionSummary,
} from '../../src/report/contention-result.js';
import { count, disturbedText, figure } from '../../src/report/figures.js';
import { textTable, wrapText } from '../../src/report/table.js';
import type { ContentionRun } from './contention.js';

type Result = BenchResult<ContentionRun, ContentionSummary>;

/** Four tables and what they say, from the result alone; at most 100 columns. */
export function describeContention(result: Result): string {
  const { rows, calls } = result.summary;
  return [
    'mmap_lock per fault, in vCPUs and handlers (acquisitions for read and for write; times in µs)',
    lockTable(rows),
    'the same by kind of thread',
    threadTable(rows),
    'times, when nothing is counted or traced',
    timeTable(rows),
    'mmap_lock per call, alone in the process',
    callTable(calls),
    explain(result),
  ].join('\n\n');
}

function lockTable(rows: readonly ContentionRow[]): string {
  const head = [
    'delivery',
    'read',
    'write',
    'wait',
    'range',
    'waited',
    'hold',
    'ctx sw',
    'retries',
    'KVM exits',
    'KVM_RUN',
  ];
  return textTable(
    head,
    rows.map((row) => {
      const wait = both(row, 'waitMicroseconds');
      const hold = both(row, 'holdMicroseconds');
      return [
        row.label,
        figure(row.read.acquisitions.median, 2),
        figure(row.write.acquisitions.median, 2),
        figure(wait?.median, 1),
        range(wait, wait !== null && wait.highest < 10 ? 1 : 0),
        waited(row),
        figure(hold?.median, 1),
        figure(row.contextSwitches?.median, 2),
        figure(row.pageFaultRetries?.median, 2),
        figure(row.kvmExits?.median, 2),
        figure(row.kvmRuns?.median, 2),
      ];
    }),
  );
}

function threadTable(rows: readonly ContentionRow[]): string {
  const head = ['delivery', 'threads', 'read', 'write', 'wait µs', 'hold µs', 'changes/s'];
  return textTable(
    head,
    rows.flatMap((row) =>
      row.byThread.map((share) => [
        row.label,
        share.threads,
        figure(share.read.acquisitions.median, 2),
        figure(share.write.acquisitions.median, 2),
        figure(both(share, 'waitMicroseconds')?.median, 1),
        figure(both(share, 'holdMicroseconds')?.median, 1),
        share.threads === 'writers' ? rounded(row.writesPerSecond?.median) : '',
      ]),
    ),
    2,
  );
}

function timeTable(rows: readonly ContentionRow[]): string {
  const head = ['delivery', 'faults', 'p50 µs', 'range', 'p99 µs', 'range', 'pages/s', 'range'];
  return textTable(
    [...head, 'disturbed'],
    rows.map((row) => [
      row.label,
      count(row.faults.median),
      figure(row.p50Microseconds?.median, 1),
      range(row.p50Microseconds, 0),
      figure(row.p99Microseconds?.median, 0),
      range(row.p99Microseconds, 0),
      rounded(row.pagesPerSecond.median),
      range(row.pagesPerSecond, 0),
      disturbedText(row),
    ]),
  );
}

function callTable(calls: readonly CallLocks[]): string {
  return textTable(
    ['call', 'which', 'calls', 'read', 'write'],
    calls.map(({ call, calls, read, write, note }) => [
      call,
      note,
      String(calls),
      figure(read, 2),
      figure(write, 2),
    ]),
    2,
  );
}

function explain({ constant, host, summary }: Result): string {
  const { repeat, warmUps, rows, notMeasured, uncontendedWaitMicroseconds } = summary;
  const writing = rows.some(({ writers }) => writers > 0)
    ? ` and the writers beside them, threads that mmap, mprotect, MADV_DONTNEED and munmap 64K of their own in turn, ${constant.writerRate} changes a second each`
    : '';
  const sentences = [
    `Each of ${constant.vcpus} vCPUs writes to ${count(Number(constant.pagesPerVcpu))} pages of ${constant.backing} of its own, in order; the rows differ in nothing but their delivery${writing}. Pinned: ${constant.pin}. ${repeat === 1 ? 'One round' : `Medians of ${repeat} rounds in turn`}, ${warmUps} warm-up round left out, memory verified in every run. Counts are from runs that count, waits and holds from runs that trace (their counts and traces agreed), times from runs that do neither.`,
    typeof uncontendedWaitMicroseconds !== 'number'
      ? ''
      : `Tracing makes a lock that nobody else wants look like a wait of ${figure(uncontendedWaitMicroseconds, 1)} µs, and lengthens a hold by as much: compare rows, and take that off. waited: acquisitions that took longer than 10 µs. A wait ends when the thread has the lock and a CPU; a hold goes on while it has none.`,
    'retries: page faults that gave up mmap_lock while they waited, and were begun again. KVM exits: out of the guest; an exit that KVM handles itself does not return from KVM_RUN.',
    ...rows.filter(({ writers }) => writers === 0).map(sayCost),
    ...rows.filter(({ writers }) => writers > 0).map((row) => sayWriters(row, rows)),
    sayContinue(summary.calls, host.kernel),
    ...Object.entries(notMeasured).map(([name, why]) => `${name}: not measured, ${why}.`),
  ];
  return sentences
    .filter((sentence) => sentence !== '')
    .map((sentence) => wrapText(sentence))
    .join('\n');
}

function sayCost(row: ContentionRow): string {
  const { label, read, write, contextSwitches, byThread } = row;
  const taken = read.acquisitions.median + write.acquisitions.median;
  const wait = both(row, 'waitMicroseconds');
  const hold = both(row, 'holdMicroseconds');
  const vcpus = byThread.find(({ threads }) => threads === 'vcpus')!;
  const part = taken === 0 ? 1 : vcpus.read.acquisitions.median / taken;
  const who = row.handlers > 0 ? `, ${figure(part * 100, 0)} % of them by the vCPU itself` : '';
  const traced =
    wait === null || hold === null
      ? ''
      : `; ${figure(wait.median, 1)} µs of waiting for it, ${figure(hold.median, 1)} µs of holding it (traced)`;
  return `${label}: a fault takes mmap_lock ${figure(taken, 2)} times${who}${traced}; ${figure(contextSwitches?.median, 2)} context switches.`;
}

/** A change is said to be one only where the ranges do not overlap. */
function sayWriters(row: ContentionRow, rows: readonly ContentionRow[]): string {
  const alone = rows.find(({ delivery, writers }) => delivery === row.delivery && writers === 0);
  if (alone === undefined) {
    return '';
  }
  const said = [
    sayRatio('pages/s', row.pagesPerSecond, alone.pagesPerSecond),
    sayRatio('p50', row.p50Microseconds, alone.p50Microseconds),
    sayRatio('p99', row.p99Microseconds, alone.p99Microseconds),
    sayRatio(
      'waiting for mmap_lock',
      both(row, 'waitMicroseconds'),
      both(alone, 'waitMicroseconds'),
    ),
  ].filter((text) => text !== '');
  return `${row.label}, against none: ${said.join(', ')}.`;
}

function sayRatio(name: string, figure: Figure | null, before: Figure | null): string {
  if (figure === null || before === null || before.median === 0) {
    return '';
  }
  const apart = figure.lowest > before.highest || figure.highest < before.lowest;
  const doubt = figure.runs === 1 ? ' (one run)' : apart ? '' : ' (ranges overlap)';
  return `${name} x ${(figure.median / before.median).toFixed(2)}${doubt}`;
}

function sayContinue(calls: readonly CallLocks[], kernel: string): string {
  const found = calls.find(({ call }) => call === 'UFFDIO_CONTINUE');
  if (found === undefined || found.read === null || found.write === null) {
    return '';
  }
  const taken = found.read + found.write;
  return taken < 0.01
    ? `Per-VMA locks: UFFDIO_CONTINUE takes mmap_lock not once in ${found.calls} calls on ${kernel}: the lock of its VMA does. In 2022 it took it for read, every time.`
    : `Per-VMA locks: UFFDIO_CONTINUE takes mmap_lock ${figure(taken, 2)} times a call on ${kernel}, so writers and it exclude each other.`;
}

/** Read and write together: bounds are added too, which is as wide as it can be. */
function both(
  { read, write }: Pick<ContentionRow, 'read' | 'write'>,
  time: 'waitMicroseconds' | 'holdMicroseconds',
): Figure | null {
  const [a, b] = [read[time], write[time]];
  return a === null || b === null
    ? null
    : {
        median: a.median + b.median,
        lowest: a.lowest + b.lowest,
        highest: a.highest + b.highest,
        runs: a.runs,
      };
}

/** Which part of the acquisitions waited longer than 10 µs. */
function waited({ read, write }: Pick<ContentionRow, 'read' | 'write'>): string {
  const taken = read.acquisitions.median + write.acquisitions.median;
  const long = (read.longWaits?.median ?? 0) + (write.longWaits?.median ?? 0);
  return read.longWaits && taken > 0 ? `${figure((100 * long) / taken, 1)} %` : figure(null, 0);
}

function range(of: Figure | null, decimals: number): string {
  return of === null ? '' : `${of.lowest.toFixed(decimals)}-${of.highest.toFixed(decimals)}`;
}

function rounded(value: number | null | undefined): string {
  return count(typeof value === 'number' ? Math.round(value) : value);
}
