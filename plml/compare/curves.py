"""Learning curves of several runs as one SVG drawing, without any script; colours come from the page's style sheet."""

import math
from collections.abc import Sequence
from html import escape

from plml.compare.runs import ComparedRun

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 34
Curve = list[tuple[int, float]]


def draw_curves(runs: Sequence[ComparedRun], metric: str) -> str:
    """Return a figure of one metric by epoch, a line a run; "" if no run has two points of it.

    Args:
        runs: their places choose the colours: classes ``line0``, ``line1``, ...
        metric: its name in the reports.
    """
    curves = [
        [(report.epoch, report.metrics[metric]) for report in run.reports if metric in report.metrics] for run in runs
    ]
    if max(map(len, curves), default=0) < 2:
        return ""
    epochs = [epoch for curve in curves for epoch, _ in curve]
    values = [value for curve in curves for _, value in curve]
    ticks = nice_ticks(min(values), max(values))
    low, high, last = ticks[0], ticks[-1], max(epochs)

    def x(epoch: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * epoch / max(1, last)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(metric)} by epoch">']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    below = f'y="{HEIGHT - BOTTOM + 16}" text-anchor="middle"'
    parts += [f'<text x="{x(epoch):.1f}" {below}>{epoch}</text>' for epoch in epoch_ticks(last)]
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">epoch</text>')
    for place, (run, curve) in enumerate(zip(runs, curves, strict=True)):
        points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in curve)
        parts.append(
            f'<polyline class="line{place % 8}" points="{points}"><title>{escape(run.name)}</title></polyline>'
        )
        best = run.best
        if best is not None and metric in best.metrics:  # the chosen epoch
            where = f'cx="{x(best.epoch):.1f}" cy="{y(best.metrics[metric]):.1f}"'
            told = f"{escape(run.name)}: epoch {best.epoch}, {best.metrics[metric]:.4g}"
            parts.append(f'<circle class="line{place % 8}" {where} r="4"><title>{told}</title></circle>')
    return "".join([*parts, "</svg>"])


def nice_ticks(low: float, high: float) -> list[float]:
    """Return four to seven round numbers from at most ``low`` to at least ``high``."""
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):  # equal but for rounding, which no axis can show
        low, high = low - 0.5, high + 0.5
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(place * step, 12) for place in range(first, last + 1)]


def epoch_ticks(last: int) -> list[int]:
    """Return at most eleven epochs to write below the axis."""
    step = max(1, math.ceil(last / 10))
    return list(range(0, last + 1, step))
