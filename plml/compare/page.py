"""A comparison as one HTML page that needs nothing else: no script, no font, no address. Names are escaped."""

from collections.abc import Sequence
from html import escape

from plml.compare.curves import draw_curves
from plml.compare.differences import ABSENT, ImageInterval, Row, show
from plml.compare.report import ONE_RUN_EACH, Comparison, interval_text
from plml.compare.runs import ComparedRun

CURVES = ("val/mAP", "selection/value", "train/loss")
_LESS_IS_BETTER = ("_loss", "one_error", "coverage", "empty_classes")
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a", "#7f7f7f")
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1a1a1a; --dim: #666; --rule: #ddd; --warn: #fff4d6;
  --more: #2e7d32; --less: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #16181c; --text: #e6e6e6; --dim: #9aa0a6; --rule: #383c42;
  --warn: #40351a; --more: #7bc67e; --less: #f2a19a; } }
body { background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 1120px; padding: 16px; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin: 1.8em 0 .5em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--rule); padding: 4px 14px 4px 0; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; min-width: 6em; } td.number, th.number { text-align: right; white-space: nowrap; }
th small, td small, .dim { color: var(--dim); font-weight: normal; }
.more { color: var(--more); } .less { color: var(--less); }
.warnings { background: var(--warn); border-radius: 6px; padding: 8px 16px 8px 34px; }
.curves { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { fill: var(--dim); font-size: 12px; }
svg .grid { stroke: var(--rule); } svg polyline { fill: none; stroke-width: 2; }
.key { display: inline-block; border-radius: 3px; height: .7em; margin-right: .4em; width: .7em; }
.bar { background: var(--rule); height: .8em; position: relative; width: 160px; }
.bar i { display: block; height: 100%; position: absolute; }
"""


def render(comparison: Comparison) -> str:
    """Return the page."""
    runs = comparison.runs
    colors = "".join(
        f"svg .line{i} {{ stroke: {color}; }}\n"
        f"svg circle.line{i}, .key.line{i} {{ fill: {color}; background: {color}; }}\n"
        for i, color in enumerate(_COLORS)
    )
    title = "plml: " + " / ".join(run.name for run in runs)
    body = [f"<h1>{' / '.join(f'{_key(i)}{escape(run.name)}' for i, run in enumerate(runs))}</h1>"]
    if comparison.warnings:
        body.append(f'<ul class="warnings">{"".join(f"<li>{escape(line)}</li>" for line in comparison.warnings)}</ul>')
    body += [_section("What was trained", _words(runs, comparison.stamps))]
    same = "<p class='dim'>The configurations are equal.</p>"
    body += [_section("Configuration that differs", _words(runs, comparison.config) if comparison.config else same)]
    figures = _numbers(runs, comparison.figures) + _intervals(runs, comparison.intervals)
    body += [_section("Figures", figures + f'<p class="dim">{escape(ONE_RUN_EACH)}</p>')]
    curves = [(metric, svg) for metric in CURVES if (svg := draw_curves(runs, metric))]
    if curves:
        drawn = "".join(f"<figure><figcaption>{escape(m)}</figcaption>{svg}</figure>" for m, svg in curves)
        dots = '<p class="dim">A dot is the chosen epoch.</p>'
        body.append(_section("Learning curves", f'<div class="curves">{drawn}</div>{dots}'))
    if comparison.classes:
        body.append(_section("Average precision on test by class", _numbers(runs, comparison.classes, bars=True)))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{colors}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _key(place: int) -> str:
    return f'<span class="key line{place % len(_COLORS)}"></span>'


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}"


def _head(runs: Sequence[ComparedRun], kind: str = "") -> str:
    cells = "".join(f"<th{kind}>{_key(place)}{escape(run.name)}</th>" for place, run in enumerate(runs))
    return f"<tr><th></th>{cells}</tr>"


def _words(runs: Sequence[ComparedRun], rows: Sequence[Row]) -> str:
    lines = "".join(
        f"<tr><th>{escape(row.name)}</th>{''.join(f'<td>{escape(show(value))}</td>' for value in row.values)}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table>{_head(runs)}{lines}</table></div>'


def _numbers(runs: Sequence[ComparedRun], rows: Sequence[Row], *, bars: bool = False) -> str:
    widest = max((abs(row.difference(1) or 0.0) for row in rows), default=0.0) or 1.0
    drawn = bars and len(runs) == 2
    lines = []
    for row in rows:
        cells = "".join(f'<td class="number">{_number(row, place)}</td>' for place in range(len(runs)))
        bar = f"<td>{_bar((row.difference(1) or 0.0) / widest)}</td>" if drawn else ""
        lines.append(f"<tr><th>{escape(row.name)}</th>{cells}{bar}</tr>")
    return f'<div class="wide"><table>{_head(runs, " class=number")}{"".join(lines)}</table></div>'


def _number(row: Row, place: int) -> str:
    value = row.values[place]
    if value is None:
        return ABSENT
    difference = row.difference(place) if place else None
    if difference is None:
        return f"{value:.2f}"
    gain = -difference if row.name.endswith(_LESS_IS_BETTER) else difference
    kind = "more" if gain > 0 else "less" if gain < 0 else "dim"
    return f'{value:.2f} <small class="{kind}">{difference:+.2f}</small>'


def _bar(share: float) -> str:
    """A bar to the right or the left of the middle, ``share`` in [-1, 1]."""
    left, color = (50.0, "more") if share >= 0 else (50.0 + 50.0 * share, "less")
    style = f"left:{left:.1f}%;width:{50 * abs(share):.1f}%;background:var(--{color})"
    return f'<div class="bar"><i style="{style}"></i></div>'


def _intervals(runs: Sequence[ComparedRun], intervals: Sequence[ImageInterval | None]) -> str:
    lines = [interval_text(runs, place, found) for place, found in enumerate(intervals, start=1)]
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
