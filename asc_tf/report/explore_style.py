"""What explore.html needs beside the style sheet of the reports."""

CSS = """
:root {
  --g0: #0072b2; --g1: #e69f00; --g2: #009e73; --g3: #cc79a7; --g4: #56b4e9;
  --g5: #d55e00; --g6: #8a8f98; --g7: #b8a800; --g8: #7b5ea7;
}
@media screen and (prefers-color-scheme: dark) {
  :root { --g0: #3d9bdc; --g4: #9fd8f8; --g7: #f0e442; --g8: #a98bd8; }
}
.counted {
  display: grid; gap: 0 20px; align-items: start;
  grid-template-columns: minmax(0, 1fr);
}
.of-2 { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.of-3 { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.g0 { background: var(--g0); } .g1 { background: var(--g1); }
.g2 { background: var(--g2); } .g3 { background: var(--g3); }
.g4 { background: var(--g4); } .g5 { background: var(--g5); }
.g6 { background: var(--g6); } .g7 { background: var(--g7); }
.g8 { background: var(--g8); }
.legend {
  list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0 8px;
  padding: 0; font-size: .86rem; color: var(--muted);
}
.legend b { color: var(--text); font-weight: 500; }
.legend i {
  display: inline-block; width: 11px; height: 11px; border-radius: 2px;
  margin-right: 6px;
}
.legend i, .stack i, .key i {
  print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
.counts { font-size: .88rem; }
.counts { table-layout: fixed; }
.counts th { width: 10.5em; line-height: 1.25; }
.counts th, .counts td { padding: 3px 6px; border-bottom: 0; }
.counts .n { width: 3.5em; }
.many { font-size: .78rem; }
.many th, .many td { padding: 0 6px; line-height: 1.3; }
.many .stack { height: 11px; }
.stack { display: flex; height: 14px; }
.stack i { box-shadow: inset -1px 0 var(--surface); min-width: 2px; }
summary { cursor: pointer; }
section > details { margin-top: 10px; }
section > details > summary { font-size: .9rem; color: var(--muted); }
.label > summary { padding: 10px 0 2px; border-top: 1px solid var(--line); }
.label > summary b { color: var(--text); font-size: 1rem; font-weight: 600; }
.label { scroll-margin-top: 8px; }
.labels {
  display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 0 0 6px; font-size: .88rem;
}
a { color: var(--accent); }
.cards {
  display: grid; gap: 18px 22px; margin: 10px 0 6px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr));
}
.card {
  margin: 0; min-width: 0; display: flex; flex-direction: column;
  content-visibility: auto; contain-intrinsic-size: auto 440px;
}
.card figcaption { font-size: .86rem; line-height: 1.35; margin-bottom: 4px; }
.card figcaption b { font-weight: 600; display: block; overflow-wrap: anywhere; }
.card audio { width: 100%; height: 36px; margin-top: 2px; }
.panels { display: block; width: 100%; height: auto; }
.panels text { fill: var(--muted); font-size: 10.5px; }
.panels .title { fill: var(--text); font-size: 11.5px; }
.panels .x { text-anchor: middle; }
.panels .y { text-anchor: end; }
.panels .line { stroke: var(--muted); fill: none; stroke-width: .7; }
.panels .wave { fill: var(--accent); }
.key { white-space: nowrap; }
.key i {
  display: inline-block; width: 120px; height: 10px; border-radius: 2px;
  vertical-align: baseline; margin: 0 2px;
}
.targets { margin: 2px 0 8px; font-size: .86rem; }
.targets th, .targets td { padding: 2px 4px; border-bottom: 0; }
.targets .bar { min-width: 150px; width: 55%; }
.told { font-size: .9rem; align-self: center; }
.told dl {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 14px;
  margin: 0; font-size: .86rem;
}
.told dt { color: var(--muted); }
.told dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.typical { margin: 8px 0 12px; }
@media screen and (max-width: 760px) {
  .targets .bar {
    background: linear-gradient(var(--bar), var(--bar))
      no-repeat 14px 50% / calc((100% - 80px) * var(--share)) 46%;
  }
  .counted { grid-template-columns: minmax(0, 1fr); }
  .counts th { width: 8.5em; }
}
@media print {
  .card { break-inside: avoid; content-visibility: visible; }
  .card audio, .labels { display: none; }
}
"""
