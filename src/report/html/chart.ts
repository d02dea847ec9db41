import { createWindow, type DrawnElement } from '@mixmark-io/domino';
import * as Plot from '@observablehq/plot';
import { visible } from '../visible-text.js';
import { html, type Markup, trusted } from './markup.js';
import { PATTERN_FILLS, patternsFor } from './patterns.js';

/** Of a drawing: it is made once for wide pages and once for narrow ones. */
export interface Size {
  /** Pixels. */
  readonly width: number;
  readonly narrow: boolean;
}

export interface LegendEntry {
  readonly label: string;
  /** Marks on a field of 0 to 1 in both directions. */
  readonly marks: readonly Plot.Markish[];
}

export interface Chart {
  readonly title: string;
  /** What is to be seen, for those who do not see it, and how to read it. */
  readonly description: string;
  readonly legend: readonly LegendEntry[];
  /** On wide pages two of them stand beside each other. */
  readonly half?: true;
  readonly plot: (size: Size) => Plot.PlotOptions;
}

const WIDE_PIXELS = 1000;
const HALF_PIXELS = 480;
const NARROW_PIXELS = 368;

/** Of all texts in charts. The stylesheet's family; the size is that which ticks are chosen for. */
const FONT_PIXELS = 12;
const SVG = 'http://www.w3.org/2000/svg';

const { document } = createWindow('<html></html>');
let drawings = 0;

/** A chart with its legend: the page shows the drawing that fits it. */
export function drawChart(chart: Chart): Markup {
  const { title, description, legend, half = false } = chart;
  const sizes: readonly Size[] = [
    { width: half ? HALF_PIXELS : WIDE_PIXELS, narrow: false },
    { width: NARROW_PIXELS, narrow: true },
  ];
  const entries = legend.map(
    ({ label, marks }) => html`<li>${drawSwatch(marks)}<span>${label}</span></li>`,
  );
  const drawn = sizes.map(
    (size) => html`<div class="${size.narrow ? 'narrow' : 'wide'}">${drawPlot(chart, size)}</div>`,
  );
  return html`<figure class="chart">
<figcaption><strong>${title}</strong> ${description}</figcaption>
${entries.length === 0 ? null : html`<ul class="legend">${entries}</ul>`}
${drawn}
</figure>`;
}

/** Charts of half the width, two by two. */
export function drawPairs(charts: readonly Chart[]): Markup | null {
  return charts.length === 0 ? null : html`<div class="pairs">${charts.map(drawChart)}</div>`;
}

function drawPlot({ title, description, plot }: Chart, size: Size): Markup {
  const options = plot(size);
  const svg = Plot.plot({
    ...options,
    document,
    width: size.width,
    style: { fontSize: `${FONT_PIXELS}px`, background: 'none' },
  });
  const id = `drawing-${++drawings}`;
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-labelledby', `${id}-title ${id}-description`);
  for (const [name, text] of [
    ['description', description],
    ['title', title],
  ] as const) {
    const element = document.createElementNS(SVG, name === 'title' ? 'title' : 'desc');
    element.setAttribute('id', `${id}-${name}`);
    element.textContent = visible(text);
    svg.insertBefore(element, svg.firstChild);
  }
  return serialize(svg);
}

function drawSwatch(marks: readonly Plot.Markish[]): Markup {
  const svg = Plot.plot({
    document,
    width: 30,
    height: 14,
    margin: 0,
    axis: null,
    x: { domain: [0, 1] },
    y: { domain: [0, 1] },
    style: { background: 'none' },
    marks: [...marks],
  });
  svg.setAttribute('aria-hidden', 'true');
  return serialize(svg);
}

/**
 * Patterns are of the drawing that uses them, under names of its own: one in a part of the page that
 * is not shown cannot be referred to.
 */
function serialize(svg: DrawnElement): Markup {
  let text = svg.outerHTML;
  const used = PATTERN_FILLS.filter((fill) => text.includes(fill.reference));
  if (used.length > 0) {
    const prefix = `pattern-${++drawings}-`;
    for (const { reference, name } of used) {
      text = text.replaceAll(reference, `url(#${prefix}${name})`);
    }
    text = text.replace('</style>', `</style>${patternsFor(prefix, used)}`);
  }
  return trusted(text);
}
