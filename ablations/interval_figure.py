"""The dot plot of a grid: every cell's mean with its intervals and its runs."""

from typing import TYPE_CHECKING

import numpy as np

from ablations.comparison import figures_of
from ablations.panels import new_panels
from ablations.summary import CellSummary, GridSummary
from plml.tracking_view import PALETTE
from tune.drawing import GRID, MUTED, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOR = PALETTE[0]
_ROOM = 0.35  # beside the runs, as a share of the stretch they take; longer intervals end in an arrow


def draw_intervals(summary: GridSummary) -> "Figure | None":
    """Mean of every cell with its intervals and its runs, the baseline as a line; a panel for each block."""
    if all(cell.mean is None for cell in summary.cells):
        return None
    rows = max(len(summary.of_block(block)) for block in summary.blocks)
    alone = len(summary.blocks) == 1
    figure, panels = new_panels(len(summary.blocks), 7.5 if alone else 4.6, 0.9 + 0.36 * rows, extra=1.0)
    for axes, block in zip(panels, summary.blocks, strict=True):
        cells = summary.of_block(block)[::-1]
        left, right = _limits(summary, cells)
        for place, cell in enumerate(cells):
            _draw_cell(axes, summary, cell, place, left, right)
        base = next((cell.mean for cell in cells if cell.baseline), None)
        if base is not None:
            axes.axvline(base, color=MUTED, linewidth=1, linestyle="--", zorder=0)
        axes.set_yticks(range(len(cells)), [summary.name_of(c) + ("" if c.complete else " *") for c in cells])
        axes.set(xlabel=f"{summary.outcome.metric}, percent", xlim=(left, right), ylim=(-0.6, len(cells) - 0.4))
        axes.set_title(f"{summary.outcome.blocks} {block}" if block else "", fontsize=10)
        axes.grid(axis="x", **GRID)
    _legend(figure, summary)
    stamp = " (selected on clean labels)" if summary.outcome.clean else ""
    headline(figure, f"{summary.outcome.name}: every cell{stamp}")
    return figure


def _runs(summary: GridSummary, cell: CellSummary) -> list[float]:
    raw = next(raw for raw in summary.outcome.cells if raw.label == cell.label)
    return list(figures_of(summary.outcome, raw).values())


def _limits(summary: GridSummary, cells: tuple[CellSummary, ...]) -> tuple[float, float]:
    """Return what the panel shows: all runs and intervals over images, and as much of the others as there is room."""
    must = [value for cell in cells for value in _runs(summary, cell)]
    must += [end for cell in cells for end in cell.images or ()]
    ends = [end for cell in cells for end in cell.interval or ()]
    if not must:
        return 0.0, 100.0
    low, high = min(must), max(must)
    room = _ROOM * max(high - low, 0.5)
    edge = 0.08 * max(high - low, 0.5)
    left, right = max(min([low, *ends]), low - room), min(max([high, *ends]), high + room)
    return left - edge, right + edge


def _draw_cell(axes: "Axes", summary: GridSummary, cell: CellSummary, place: int, left: float, right: float) -> None:
    if cell.mean is None:
        return
    color = MUTED if cell.baseline else _COLOR
    if cell.images is not None:
        axes.plot(cell.images, [place, place], color=color, linewidth=6, alpha=0.25, solid_capstyle="butt")
    if cell.interval is not None:
        low, high = cell.interval
        axes.plot([max(low, left), min(high, right)], [place, place], color=color, linewidth=1.4)
        for end, mark, inside in ((low, "<", low >= left), (high, ">", high <= right)):
            at = min(max(end, left), right)
            axes.plot([at], [place], marker="|" if inside else mark, color=color, markersize=7, clip_on=False)
    values = _runs(summary, cell)
    if len(values) > 1:
        axes.scatter(values, np.full(len(values), place - 0.24), s=9, color=color, alpha=0.6, linewidths=0)
    filled = cell.baseline or (cell.difference is not None and cell.difference.significant)
    axes.scatter([cell.mean], [place], s=40, facecolors=color if filled else "white", edgecolors=color, zorder=3)


def _legend(figure: "Figure", summary: GridSummary) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def dot(label: str, color: str = _COLOR, face: str | None = None, marker: str = "o") -> Line2D:
        return Line2D([], [], marker=marker, color=color, markerfacecolor=face or color, linestyle="", label=label)

    cells = summary.cells
    entries: list[Line2D | Patch] = []
    if any(cell.difference is not None for cell in cells):
        entries += [dot("mean, differs from the baseline"), dot("mean, not significant", face="white")]
        entries.append(dot("baseline", MUTED))
    if any(cell.interval for cell in cells):
        entries.append(Line2D([], [], color=_COLOR, linewidth=1.4, label="95 %, seeds and label draws"))
    if any(cell.images for cell in cells):
        entries.append(Patch(color=_COLOR, alpha=0.25, linewidth=0, label="95 %, test images"))
    if any(cell.n > 1 for cell in cells):
        entries.append(dot("one run", marker="."))
    if not all(cell.complete for cell in cells):
        entries.append(dot("runs missing", "black", marker="$*$"))
    if entries:
        figure.legend(handles=entries, loc="outside lower left", ncols=min(3, len(entries)), fontsize=8)
