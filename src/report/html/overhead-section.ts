import type { BenchResult } from '../bench-result.js';
import { figure, figureText } from '../figures.js';
import { type OverheadRow, type Pair, ratioOf } from '../overhead-result.js';
import { drawChart } from './chart.js';
import { rangeChart } from './range-chart.js';
import type { Section } from './section.js';
import { htmlTable } from './table.js';

export function overheadSection({
  summary,
  runs,
}: BenchResult<Pair, readonly OverheadRow[]>): Section {
  const ratios = summary.map(ratioOf);
  const chart = rangeChart({
    title: 'The fault loops in TypeScript against the same loops in C.',
    description: 'Time of the same guest, TypeScript over C, by pairs run in turn.',
    axis: 'TypeScript / C →',
    rows: summary.map(({ delivery }) => delivery),
    series: [{ label: 'ratio', figures: ratios }],
    mark: { at: 1, label: 'as fast as C' },
  });
  return {
    verdicts: summary.map(({ delivery }, index) => {
      const ratio = ratios[index]!;
      return ratio === null
        ? `${delivery}: no pair was measured.`
        : `${delivery}: TypeScript takes ${figure(ratio.median, 2)} times as long as C${ratio.lowest <= 1 && ratio.highest >= 1 ? ', which the pairs do not tell from 1' : ''}.`;
    }),
    body: [
      chart === null ? null : drawChart(chart),
      htmlTable(
        'Medians over the pairs',
        ['delivery', 'pairs', 'TypeScript / C', 'user µs/fault', 'alloc µs/fault'],
        summary.map((row, index) => [
          row.delivery,
          String(row.pairs),
          figureText(ratios[index], 2),
          figure(row.userMicroseconds, 2),
          figure(row.allocateMicroseconds, 2),
        ]),
      ),
      htmlTable(
        'Every pair',
        ['delivery', 'TypeScript s', 'C s', 'ratio', 'user µs/fault', 'verified'],
        runs.map((pair) => [
          pair.delivery,
          figure(pair.typescriptSeconds, 3),
          figure(pair.cSeconds, 3),
          figure(pair.ratio, 3),
          figure(pair.userMicroseconds, 2),
          String(pair.pagesVerified),
        ]),
      ),
    ],
    notMeasured: [],
    disturbed: [],
  };
}
