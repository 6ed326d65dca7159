#include "src/evaluate/report/page.h"

namespace offbook::evaluate {

const std::string_view kReportStyle = R"css(
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5c6470; --line: #d9dde3; --paper: #fff;
  --card: #f6f7f9; --good: #16794a; --bad: #b3372b; --mark: #cdeccf; --wrong: #f6d5d0; --heat: #14508c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ec; --soft: #9aa3b0; --line: #363c46;
  --paper: #14171c; --card: #1c2027; --good: #5cc98f; --bad: #ef8b7d; --mark: #1e4a33; --wrong: #542a26;
  --heat: #7db4f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 28px 24px 80px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 19px; margin: 44px 0 4px; }
p.about { color: var(--soft); margin: 0 0 14px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; font-size: 13px; } th:first-child, td:first-child { text-align: left; }
td.absent { text-align: left; color: var(--soft); } td .ci { display: block; color: var(--soft); font-size: 11.5px; line-height: 1.1; }
th .ci { display: block; font-size: 11.5px; line-height: 1.1; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
tr.first td { border-top: 2px solid var(--line); }
.up { color: var(--good); font-weight: 600; } .down { color: var(--bad); font-weight: 600; }
.wide { overflow-x: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 16px; margin: 18px 0; }
svg.plot { width: 100%; background: var(--card); border-radius: 8px; padding: 6px; }
svg text { fill: var(--soft); font-size: 11px; } svg .title { fill: var(--ink); font-size: 13px; font-weight: 600; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); } svg .cell { stroke: var(--line); fill: var(--heat); } svg .unknown { fill: none; stroke-dasharray: 2 2; }
svg .diagonal { stroke: var(--soft); stroke-dasharray: 4 4; }
svg g polyline { fill: none; stroke-width: 2; stroke: currentColor; } svg g circle { fill: currentColor; }
svg g .bar { stroke: currentColor; stroke-width: 1.2; opacity: .55; }
.s0 { color: #3b6fd4; } .s1 { color: #d9822b; } .s2 { color: #2f9e6e; } .s3 { color: #b5489b; }
.s4 { color: #c4453a; } .s5 { color: #7a68d8; } .s6 { color: #2a98a8; } .s7 { color: #8a7a2f; }
.s8 { color: #7b838f; } .s9 { color: #5d8a3a; } .s10 { color: #12457a; } .s11 { color: #e07a9b; }
.filters { display: flex; flex-wrap: wrap; gap: 10px; margin: 12px 0; }
select { font: inherit; padding: 4px 8px; background: var(--card); color: var(--ink);
  border: 1px solid var(--line); border-radius: 6px; }
.case { background: var(--card); border-radius: 8px; padding: 12px 16px; margin: 10px 0; }
.case .q { font-weight: 600; } .case .meta { color: var(--soft); font-size: 13px; }
.case .a { margin: 4px 0; } .case .a b { font-weight: 600; color: var(--soft); font-size: 13px; margin-right: 6px; }
.badge { display: inline-block; padding: 0 7px; border-radius: 9px; font-size: 12.5px; margin-right: 6px; }
.badge.right { background: var(--mark); } .badge.wrong { background: var(--wrong); }
.passage { border-left: 3px solid var(--line); padding: 2px 10px; margin: 6px 0; font-size: 13.5px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.passage.right { border-color: var(--good); } .passage.wrong { border-color: var(--bad); }
.passage mark { background: var(--mark); color: inherit; }
details summary { cursor: pointer; color: var(--soft); font-size: 13px; }
)css";

const std::string_view kReportScript = R"js(
const all = JSON.parse(document.getElementById('predictions').textContent);
const text = (tag, name, words) => { const e = document.createElement(tag); e.className = name;
  e.textContent = words; return e; };
const fill = (select, names) => { for (const n of names) { const o = document.createElement('option');
  o.value = o.textContent = n; select.append(o); } };
const tasks = document.getElementById('task'), cells = document.getElementById('cell'),
  kinds = document.getElementById('kind'), list = document.getElementById('cases');
fill(tasks, [...new Set(all.map(p => p.task))]);
const cellNames = () => { cells.textContent = ''; fill(cells, ['every method',
  ...new Set(all.filter(p => p.task === tasks.value).map(p => p.cell))]); };
function passage(piece) {
  const e = text('div', 'passage ' + (piece.marks.length ? 'right' : 'wrong'), '');
  let at = 0;
  for (const [begin, end] of piece.marks) {
    e.append(piece.text.slice(at, begin), text('mark', '', piece.text.slice(begin, end)));
    at = end;
  }
  e.append(piece.text.slice(at));
  return e;
}
function show() {
  list.textContent = '';
  const chosen = all.filter(p => p.task === tasks.value &&
    (cells.selectedIndex === 0 || p.cell === cells.value) &&
    (kinds.value === 'all' || (kinds.value === 'right') === (p.score >= 0.5)));
  for (const p of chosen) {
    const e = text('div', 'case', '');
    e.append(text('div', 'q', p.question));
    const meta = text('div', 'meta', '');
    meta.append(text('span', 'badge ' + (p.score >= 0.5 ? 'right' : 'wrong'),
      p.metric + ' ' + p.scoreText), `${p.cell} · ${p.document} · ${p.kept} of ${p.source} tokens kept`);
    e.append(meta);
    for (const [name, words] of [['answer', p.text || '(nothing)'], ['references', p.answers.join(' | ')]]) {
      const line = text('div', 'a', ''); line.append(text('b', '', name), words); e.append(line);
    }
    if (p.pieces.length) {
      const d = document.createElement('details');
      const right = p.pieces.filter(x => x.marks.length).length;
      d.append(text('summary', '', `what the reader was given: ${right} of ${p.pieces.length} pieces hold an accepted answer`));
      for (const piece of p.pieces) d.append(passage(piece));
      if (cells.selectedIndex > 0) d.open = true;
      e.append(d);
    }
    list.append(e);
  }
  if (!chosen.length) list.append(text('p', 'about', 'No prediction of that kind.'));
}
tasks.onchange = () => { cellNames(); show(); };
cells.onchange = kinds.onchange = show;
if (all.length) { cellNames(); show(); }
)js";

}  // namespace offbook::evaluate
