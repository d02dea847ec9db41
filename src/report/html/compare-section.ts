import type { Comparison, Comparisons } from '../compare.js';
import { DISTURBED, percentText, verdictsOf } from '../compare-report.js';
import { figureText } from '../figures.js';
import { drawChart, drawPairs } from './chart.js';
import { html, type Markup } from './markup.js';
import { rangeChart } from './range-chart.js';
import { htmlFacts, htmlList, htmlTable } from './table.js';

const NOISE = { exceeds: 'exceeds it', within: 'within it', unknown: 'not known' } as const;
/** More rows make a chart that nobody reads; the table has them. */
const MOST_ROWS = 40;

/** Two results side by side: what comes before them on a page. */
export function compareSection(
  { comparisons, refusals }: Comparisons,
  [a, b]: readonly [a: string, b: string],
): Markup {
  return html`<section id="comparison">
<h2>Compared</h2>
${htmlFacts([
  ['A', a],
  ['B', b],
])}
${comparisons.map(compared)}
${refusals.length === 0 ? null : html`<h3>Not compared</h3>${htmlList(refusals)}`}
</section>
`;
}

function compared({ heading, differences, points, disturbed, leftOut }: Comparison): Markup {
  const figures = points.flatMap((point) => point.figures);
  const names = [...new Set(figures.map(({ name }) => name))];
  // The first, which is what the bench is about, and whatever has changed.
  const drawn = names.filter(
    (name, index) =>
      index === 0 || figures.some((figure) => figure.name === name && figure.noise === 'exceeds'),
  );
  const charts = drawn.flatMap((name) => {
    const rows = points
      .flatMap(({ label, figures: mine }) => {
        const found = mine.find((figure) => figure.name === name);
        return found === undefined ? [] : [{ label, found }];
      })
      .slice(0, MOST_ROWS);
    const chart = rangeChart({
      title: `${heading}: ${name}, A and B.`,
      description: '',
      axis: `${name} →`,
      rows: rows.map(({ label }) => label),
      series: [
        { label: 'A', figures: rows.map(({ found }) => found.a) },
        { label: 'B', figures: rows.map(({ found }) => found.b) },
      ],
    });
    return chart === null ? [] : [chart];
  });
  return html`<h3>${heading}</h3>
${
  differences.length === 0
    ? html`<p>Host and constants are the same in both.</p>`
    : htmlTable(
        'What differs',
        ['', 'A', 'B'],
        differences.map(({ what, a, b }) => [what, a, b]),
        3,
      )
}
${htmlList(verdictsOf(figures))}
${charts.length === 1 ? drawChart(charts[0]!) : drawPairs(charts.map((chart) => ({ ...chart, half: true })))}
${htmlTable(
  'Figures of both: medians, lowest and highest of the repetitions',
  ['what', 'figure', 'A', 'B', 'B to A', 'noise'],
  points.flatMap(({ label, figures: mine }) =>
    mine.map((figure) => [
      label,
      figure.name,
      figureText(figure.a, figure.decimals),
      figureText(figure.b, figure.decimals),
      percentText(figure),
      NOISE[figure.noise],
    ]),
  ),
  2,
)}
${disturbed.length === 0 ? null : html`<p>${DISTURBED}</p>${htmlList(disturbed)}`}
${leftOut.length === 0 ? null : html`<p>Left out:</p>${htmlList(leftOut)}`}
`;
}
