import type { BenchResult } from '../bench-result.js';
import { figure } from '../figures.js';
import type { MicroFigure } from '../micro-result.js';
import type { Section } from './section.js';
import { htmlTable } from './table.js';

export function microSection({
  summary,
}: BenchResult<MicroFigure, readonly MicroFigure[]>): Section {
  return {
    verdicts: [],
    body: [
      htmlTable(
        'Nanoseconds a call, each in a loop that does nothing else. No guest runs, and no memory is verified',
        ['part', 'p50', 'p99', 'mean', 'least'],
        summary.map(({ part, nanoseconds: { p50, p99, mean, least } }) => [
          part,
          ...[p50, p99, mean, least].map((value) => figure(value, value < 100 ? 1 : 0)),
        ]),
      ),
    ],
    notMeasured: [],
    disturbed: [],
  };
}
