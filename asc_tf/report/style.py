"""The style sheet of report.html: light, dark, narrow and printed."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f5f7f9; --surface: #ffffff; --text: #1f2933; --muted: #616e7c;
  --line: #e4e7eb; --accent: #0072b2; --bar: #d3e6f3;
  --warn-page: #fff4e0; --warn-line: #e69f00; --warn-text: #6b4300;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #12161b; --surface: #1b2027; --text: #e4e7eb; --muted: #9aa5b1;
    --line: #323a45; --accent: #56b4e9; --bar: #22435a;
    --warn-page: #33260d; --warn-line: #e69f00; --warn-text: #ffd98a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans",
    sans-serif;
  overflow-wrap: break-word;
}
main { max-width: 1200px; margin: 0 auto; padding: 32px 20px 56px; }
h1 { font-size: 1.65rem; line-height: 1.25; margin: 0; font-weight: 650; }
h2 { font-size: 1.1rem; margin: 0 0 4px; font-weight: 650; }
p { margin: 0 0 12px; }
.muted { color: var(--muted); font-size: .9rem; }
header p { margin: 6px 0 0; }
header ul { margin: 12px 0 0; padding-left: 20px; }
.banner {
  margin: 20px 0 0; padding: 12px 16px; border-radius: 8px;
  background: var(--warn-page); color: var(--warn-text);
  border: 1px solid var(--warn-line); border-left-width: 6px;
}
.headline {
  display: grid; gap: 14px; margin: 24px 0 0; padding: 0;
  grid-template-columns: repeat(4, 1fr);
}
.headline div, section {
  background: var(--surface); border: 1px solid var(--line); border-radius: 10px;
}
.headline div { display: flex; flex-direction: column; padding: 14px 18px; }
.headline dt { order: 2; color: var(--muted); font-size: .9rem; }
.headline dd {
  margin: 0; font-size: 2rem; line-height: 1.2; font-weight: 650;
  font-variant-numeric: tabular-nums;
}
.headline div:first-child dd { color: var(--accent); }
section { margin: 20px 0 0; padding: 20px 22px; }
.pair { display: grid; gap: 0 20px; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.pair .bar { min-width: 150px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: 6px 10px; text-align: left; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: 4px; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--muted); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar {
  background: linear-gradient(var(--bar), var(--bar))
    no-repeat 14px 50% / calc((100% - 80px) * var(--share)) 46%;
  min-width: 190px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
.matrices { display: grid; gap: 20px; }
.matrices.small { grid-template-columns: repeat(2, minmax(0, 1fr)); }
figure { margin: 8px 0 0; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
footer { margin: 24px 0 0; }
.muted b { color: var(--text); font-weight: 500; }
.segments { margin: 10px 2px 0; }
@media screen and (max-width: 760px) {
  main { padding: 20px 12px 40px; }
  h1 { font-size: 1.35rem; }
  .headline { grid-template-columns: repeat(2, 1fr); gap: 10px; }
  .headline div { padding: 10px 14px; }
  .headline dd { font-size: 1.5rem; }
  section { padding: 16px 14px; }
  .pair, .matrices.small { grid-template-columns: minmax(0, 1fr); }
  th, td { padding: 6px 4px; }
  table { font-size: .84rem; }
  thead th, thead .n { white-space: normal; vertical-align: bottom; }
  .bar, .pair .bar { min-width: 0; background: none; }
  .classes tr > :nth-child(4) { display: none; }
  .stacked tr { display: flex; flex-wrap: wrap; border-bottom: 1px solid var(--line); }
  .stacked tr > * { flex: 1 1 0; padding: 3px 4px; border: 0; }
  .stacked tr > :first-child { flex: 1 0 100%; padding-top: 8px; }
  .stacked tr > :last-child { padding-bottom: 8px; }
  .stacked tr > .n { flex: 0 0 6em; }
  img { min-width: calc(var(--width) * .55); }
  .matrices:not(.small) img { min-width: calc(var(--width) * .8); }
}
@media print {
  :root { --page: #ffffff; }
  body { font-size: 12px; }
  main { max-width: none; padding: 0; }
  section { border: 0; padding: 0; }
  .wide { overflow: visible; }
  .pair { display: block; }
  tr, figure, .headline, .banner { break-inside: avoid; }
  h2, h2 + p { break-after: avoid; }
  thead { display: table-header-group; }
  img { max-height: 24cm; width: auto; }
}
"""
