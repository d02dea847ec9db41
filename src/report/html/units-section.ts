import { formatSize } from '../../memory/sizes.js';
import type { BenchResult } from '../bench-result.js';
import { figure, figureText } from '../figures.js';
import { METRICS, type Metric, type UnitRun, type UnitsSummary } from '../units-result.js';
import { drawPairs } from './chart.js';
import { rangeChart } from './range-chart.js';
import type { Section } from './section.js';
import { htmlTable } from './table.js';

const TITLES: Readonly<Record<Metric, string>> = {
  dense: 'dense access, µs of the run per page touched',
  sparse: 'sparse access, µs of the run per page touched',
  firstInstruction: 'from an access that faults to the next instruction, µs',
};

export function unitsSection({ summary }: BenchResult<UnitRun, UnitsSummary>): Section {
  const { units, rows, leftOut } = summary;
  const networks = [...new Set(rows.map(({ network }) => network))];
  const groups = networks.flatMap((network) =>
    METRICS.map((metric) => ({
      network,
      metric,
      mine: rows.filter((row) => row.network === network && row.metric === metric),
    })).filter(({ mine }) => mine.length > 0),
  );
  const clear = rows.filter(({ best }) => best !== null && best.amongst.length === 1);
  return {
    verdicts: [
      `In ${clear.length} of ${rows.length} rows one unit stands clear of the others as the best.`,
      ...units.map((unitBytes) => {
        const wins = clear.filter(({ best }) => best!.unitBytes === unitBytes);
        return `${formatSize(unitBytes)} is the best in ${wins.length} of these.`;
      }),
    ],
    body: [
      drawPairs(
        groups.flatMap(({ network, metric, mine }) => {
          const chart = rangeChart({
            title: `Network ${network}: ${TITLES[metric]}.`,
            description: 'One symbol for each fault unit.',
            axis: 'µs →',
            rows: mine.map(({ backing }) => backing),
            series: units.map((unitBytes, index) => ({
              label: formatSize(unitBytes),
              figures: mine.map(({ figures }) => figures[index] ?? null),
            })),
          });
          return chart === null ? [] : [{ ...chart, half: true as const }];
        }),
      ),
      htmlTable(
        'Every row: microseconds, medians, lowest and highest of the repetitions',
        ['network', 'what', 'backing', ...units.map(formatSize), 'best', 'to the smallest'],
        rows.map(({ network, metric, backing, figures, best }) => [
          network,
          metric === 'firstInstruction' ? 'first instruction' : metric,
          backing,
          ...units.map((_, index) => figureText(figures[index], 1)),
          best === null ? '–' : best.amongst.map(formatSize).join(' or '),
          figure(best?.ratio, 2),
        ]),
        3,
      ),
    ],
    notMeasured: leftOut.map(({ backing, reason }) => `${backing}: ${reason}`),
    disturbed: [],
  };
}
