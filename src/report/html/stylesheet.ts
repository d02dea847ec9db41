/**
 * Of the page and of the charts in it, whose colours are variables here. Text and series have at least
 * 4.5 to 1 and 3 to 1 of contrast against their ground, light and dark.
 */
export const STYLESHEET = `
:root {
  color-scheme: light dark;
  --ground: #ffffff;
  --raised: #f4f5f7;
  --text: #1b1f24;
  --muted: #59626d;
  --rule: #d0d5db;
  --link: #0550ae;
  --series-1: #0b62b5;
  --series-2: #b34700;
  --series-3: #00734d;
  --series-4: #8a2f86;
  --series-5: #b3192b;
  --series-6: #006d7d;
  --series-7: #6b6100;
  --series-8: #4b5c78;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #14171c;
    --raised: #1e232a;
    --text: #e4e8ed;
    --muted: #a3adb9;
    --rule: #3a424d;
    --link: #7db8ff;
    --series-1: #6fb4ff;
    --series-2: #ffa55c;
    --series-3: #5fd3a5;
    --series-4: #e29bdc;
    --series-5: #ff8d8d;
    --series-6: #5fd3dd;
    --series-7: #d8ca4f;
    --series-8: #a9b8d0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0;
  background: var(--ground);
  color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 1.5rem; margin: 0 0 8px; }
h2 { font-size: 1.25rem; margin: 48px 0 8px; padding-top: 12px; border-top: 2px solid var(--text); }
h3 { font-size: 1rem; margin: 28px 0 4px; }
h1, h2, h3, p, li, dd, figcaption { overflow-wrap: anywhere; }
a { color: var(--link); }
p, ul, figcaption { max-width: 80ch; }
p, ul { margin: 6px 0; }
.whole { white-space: nowrap; }
ul { padding-left: 20px; }
code, pre { font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre {
  margin: 6px 0;
  padding: 10px 12px;
  background: var(--raised);
  border-left: 3px solid var(--series-1);
  white-space: pre-wrap;
  overflow-wrap: anywhere;
}
dl { margin: 8px 0 16px; }
dl div { display: flex; gap: 0 12px; flex-wrap: wrap; }
dt { color: var(--muted); min-width: 10em; }
dd { margin: 0; flex: 1 1 14em; }
.scroll { overflow-x: auto; margin: 0 0 16px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
.caption { font-size: 13px; font-weight: 600; margin: 20px 0 2px; }
th, td { padding: 3px 14px 3px 0; vertical-align: top; }
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; overflow-wrap: normal; }
tbody td.word { min-width: 9em; }
thead tr { border-bottom: 1px solid var(--text); }
tbody tr { border-bottom: 1px solid var(--rule); }
tbody th, td.word { overflow-wrap: break-word; }
tbody th { font-weight: 400; min-width: 7em; }
.word { text-align: left; }
.number { text-align: right; white-space: nowrap; }
thead .number { white-space: normal; }
.runs { width: 100%; }
.runs code { display: block; max-width: calc(100vw - 32px); overflow-wrap: anywhere; }
.runs tbody th { padding-top: 10px; }
figure { margin: 24px 0; }
figcaption { margin-bottom: 6px; color: var(--muted); font-size: 14px; }
figcaption strong { color: var(--text); }
.legend { max-width: none; display: flex; flex-wrap: wrap; gap: 2px 20px; list-style: none; padding: 0; margin: 4px 0 8px; font-size: 13px; }
.legend li { display: flex; align-items: center; gap: 8px; }
.legend svg { flex: none; }
.chart svg { display: block; max-width: 100%; height: auto; color: var(--text); font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }

.narrow { display: none; }
.narrow svg { width: 100%; max-width: 480px; }
.pairs { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 32px; align-items: end; }
footer { margin-top: 48px; color: var(--muted); font-size: 13px; }
@media screen and (max-width: 800px) {
  main { padding: 16px 16px 32px; }
  .wide { display: none; }
  .narrow { display: block; }
  .pairs { display: block; }
}
@media print {
  main { max-width: none; padding: 0; }
  body { font-size: 10pt; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  .number { white-space: normal; }
  th, td { padding-right: 8px; }
  figure, tr, pre, .legend { break-inside: avoid; }
  h2, h3, .caption, thead { break-after: avoid; }
  a { color: inherit; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`;
