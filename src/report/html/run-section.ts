import type { RunResult } from '../../machine/run-result.js';
import type { LatencyHistogram } from '../bench-result.js';
import { count, figure, figureOf } from '../figures.js';
import { describeRun } from '../run-report.js';
import { drawChart } from './chart.js';
import { latencyChart } from './latency-chart.js';
import { html } from './markup.js';
import type { Section } from './section.js';
import { htmlTable } from './table.js';

/** A run by itself. Its percentiles are all it has of its distribution. */
export function runSection(run: RunResult): Section {
  const times = [
    ['first accesses', run.latencyMicroseconds],
    ['accesses that faulted', run.firstInstructionMicroseconds],
    ['in userspace', run.resolveMicroseconds],
  ] as const;
  const { perFault, outcome, error } = run;
  const chart = latencyChart({ label: `run ${run.image}`, points: [pointOf(run)] }, 0);
  return {
    verdicts: [
      error === null ? `Its outcome: ${outcome}.` : `Its outcome: ${outcome}: ${error.message}.`,
    ],
    body: [
      chart === null ? null : drawChart({ ...chart, half: true }),
      html`<pre class="report">${describeRun(run)}</pre>`,
      htmlTable(
        'How long a fault takes, µs',
        ['of', 'p50', 'p90', 'p99', 'p99.9', 'most'],
        times.map(([name, of]) => [
          name,
          ...[of?.p50, of?.p90, of?.p99, of?.p999, of?.max].map((value) => figure(value, 1)),
        ]),
      ),
      htmlTable(
        'Per fault, on average',
        ['mmap_lock', 'context switches', 'KVM_RUNs', 'system calls', 'user µs', 'alloc µs'],
        [
          [
            figure(perFault.mmapLockAcquisitions, 2),
            figure(perFault.contextSwitches, 2),
            figure(perFault.kvmRuns, 2),
            figure(perFault.syscalls, 2),
            figure(perFault.userMicroseconds, 2),
            figure(perFault.allocateMicroseconds, 2),
          ],
        ],
        0,
      ),
      htmlTable(
        'vCPUs',
        ['vCPU', 'faults', 'pages/s'],
        run.perVcpu.map(({ index, faults, pagesPerSecond }) => [
          String(index),
          count(faults),
          count(pagesPerSecond),
        ]),
      ),
    ],
    notMeasured: Object.entries(run.notMeasured).map(([name, why]) => `${name}: ${why}`),
    disturbed: [],
  };
}

/** A run as a point that was measured once. */
function pointOf(run: RunResult & { readonly latencyHistogram?: LatencyHistogram | null }) {
  return {
    vcpus: run.config.vcpus,
    latency: run.latencyHistogram ?? null,
    p50Microseconds: figureOf([run.latencyMicroseconds?.p50]),
    p99Microseconds: figureOf([run.latencyMicroseconds?.p99]),
  };
}
