import { availableParallelism } from 'node:os';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { describeHost } from '../../src/measure/host.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import {
  type DeliveryRow,
  deliveryCells,
  type LabelledRun,
} from '../../src/report/deliveries-result.js';
import { median } from '../../src/report/figures.js';
import { textTable } from '../../src/report/table.js';
import { type Bench, theOne } from './bench.js';
import { describeDisturbance } from './disturbance.js';
import { memoryFor, verifiedRun } from './verified-run.js';

interface Variant {
  readonly label: string;
  readonly options: Pick<RunOptions, 'delivery' | 'pin'>;
}

const DEFAULTS = { pages: 16384, repeat: 3 } as const;

/**
 * The same guest under each delivery. The vCPU stays on CPU 0; a handler is measured on that CPU
 * and on another, for waking a thread across CPUs costs more than anything else here.
 */
function variants(): Variant[] {
  const vcpu = [0];
  const rows: Variant[] = [
    { label: 'kernel', options: { delivery: 'kernel', pin: { vcpu } } },
    { label: 'handler, same CPU', options: { delivery: 'handler', pin: { vcpu, handler: [0] } } },
  ];
  if (availableParallelism() > 1) {
    const pin = { vcpu, handler: [1] };
    rows.push({ label: 'handler, other CPU', options: { delivery: 'handler', pin } });
  }
  rows.push({ label: 'exit', options: { delivery: 'exit', pin: { vcpu } } });
  return rows;
}

export const deliveries: Bench<LabelledRun, readonly DeliveryRow[]> = {
  name: 'deliveries',
  description: 'one guest under kernel, handler and exit delivery: what a fault costs in each',
  extent: `${DEFAULTS.pages} pages, ${DEFAULTS.repeat} repetitions`,
  takes: ['pages', 'repeat', 'vcpus'],

  async run(given) {
    const options = { ...DEFAULTS, ...given };
    const { pages, repeat } = options;
    const vcpus = theOne(options.vcpus, 1, 'vcpus');
    const startedAt = new Date().toISOString();
    const rows = variants();
    const runs: LabelledRun[] = [];
    // Rounds in which only time is taken, and a last one in which only kernel events are counted.
    const rounds = repeat + 1;
    for (let round = 0; round < rounds; round++) {
      const counted = round === repeat;
      for (const { label, options: chosen } of rows) {
        const step = counted ? 'counting kernel events' : `${round + 1} of ${repeat}`;
        options.onStep?.(runs.length, rounds * rows.length, `${label} (${step})`);
        const run = await verifiedRun({
          image: 'touch',
          memoryBytes: memoryFor(pages),
          vcpus,
          params: { pages: String(pages), write: '100' },
          countKernelEvents: counted,
          ...chosen,
          ...(options.signal && { signal: options.signal }),
          ...(options.onProgress && { onProgress: options.onProgress }),
        });
        runs.push({ ...run, label, counted });
      }
    }
    return {
      schema: 'faultline.bench/1',
      bench: 'deliveries',
      host: describeHost(),
      startedAt,
      command: `faultline bench deliveries --pages ${pages} --vcpus ${vcpus} --repeat ${repeat}`,
      constant: { image: 'touch', pages, write: 100, vcpus, backing: 'shmem', unitBytes: 4096 },
      runs,
      summary: rows.map(({ label }) => summarizeRow(label, runs)),
    };
  },

  describe: (result) => {
    const head = [
      'delivery',
      'faults',
      'p50 µs',
      'p99 µs',
      'pages/s',
      'mmap_lock',
      'ctx sw',
      'verified',
    ];
    const rows = result.summary.map(deliveryCells);
    return `${textTable(head, rows)}\n\n${explain(result)}`;
  },
};

function summarizeRow(label: string, runs: readonly LabelledRun[]): DeliveryRow {
  const mine = runs.filter((run) => run.label === label);
  const counting = mine.find((run) => run.counted);
  const middle = (pick: (run: LabelledRun) => number | null | undefined): number | null =>
    median(mine.filter((run) => !run.counted).map(pick));
  return {
    label,
    faults: middle((run) => run.faults.count),
    p50Microseconds: middle((run) => run.latencyMicroseconds?.p50),
    p99Microseconds: middle((run) => run.latencyMicroseconds?.p99),
    pagesPerSecond: middle((run) => run.pagesPerSecond),
    mmapLockAcquisitions: counting?.perFault.mmapLockAcquisitions ?? null,
    contextSwitches: counting?.perFault.contextSwitches ?? null,
    pagesVerified: Math.min(...mine.map((run) => run.pages.verified ?? 0)),
  };
}

/** What the table has of kernel events. */
const COUNTED = ['mmapLockAcquisitions', 'contextSwitches'] as const;

function explain(result: BenchResult<LabelledRun, readonly DeliveryRow[]>): string {
  const { pages, vcpus } = result.constant;
  const repeat = result.runs.length / result.summary.length - 1;
  const mebibytes = (Number(pages) * 4096) / 2 ** 20;
  const lines = [
    `Each row: a KVM guest (${vcpus} vCPU${Number(vcpus) > 1 ? 's' : ''}) writes to ${mebibytes} MiB of memory that is not there yet, one page`,
    `of 4 KiB at a time. µs: from the guest's access to its completion, by the guest's TSC; medians of`,
    `${repeat} runs. mmap_lock and ctx sw: acquisitions of mmap_lock and context switches per fault, from one`,
    'more run (counting costs time), in the vCPU and handler threads. faults: those that reached',
    "userspace; under kernel, those the kernel served in the vCPU's thread, a few of its own among them.",
    'verified: pages whose every word was compared afterwards, in each run.',
    '  kernel   the pages are in the page cache beforehand and the kernel maps them: the floor',
    '  handler  the vCPU sleeps while another thread fills its page and wakes it; the vCPU runs on',
    '           CPU 0, the handler there too (a cheap wake-up) or on CPU 1 (an expensive one)',
    '  exit     KVM_RUN returns, the vCPU thread fills the page itself and re-enters; nobody sleeps.',
    '           Its price is one more entry into the guest: dear on a software KVM, cheap on VMX or SVM',
  ];
  const disturbance = describeDisturbance(result.runs);
  if (disturbance !== null) {
    lines.push(disturbance);
  }
  const reasons = new Set(
    result.runs.flatMap(({ counted, notMeasured }) =>
      counted ? COUNTED.flatMap((name) => notMeasured[name] ?? []) : [],
    ),
  );
  for (const reason of reasons) {
    if (!reason.startsWith('delivery ')) {
      lines.push(`Not measured: ${reason}.`);
    }
  }
  return lines.join('\n');
}
