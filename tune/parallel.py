"""Parallel coordinates: one line a trial through its settings to what it reached, with logarithmic axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tune.drawing import headline, new_figure
from tune.standings import Leaderboard, Row, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_AXES = 9
FEW = 3  # values that are all written at their axis
ABSENT = -0.12  # height at which a trial passes an axis that it does not have


@dataclass(frozen=True)
class Axis:
    """A vertical axis.

    Attributes:
        label: what stands above it.
        heights: of each trial in [0, 1], ``ABSENT`` where it has no such parameter.
        ticks: height and text.
    """

    label: str
    heights: list[float]
    ticks: list[tuple[float, str]]


def make_axis(label: str, values: Sequence[Any], *, log: bool) -> Axis:
    """Place ``values`` on an axis: categories evenly, numbers linearly or by logarithm, None below it.

    Zero on a logarithmic axis stands one decade below the smallest positive value.
    """
    present = [value for value in values if value is not None]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in present):
        names = sorted({short(value) for value in present})
        step = 1 / max(1, len(names) - 1)
        place = {name: 0.5 if len(names) == 1 else i * step for i, name in enumerate(names)}
        heights = [ABSENT if value is None else place[short(value)] for value in values]
        return Axis(label, heights, [(height, name) for name, height in place.items()])
    positive = [float(value) for value in present if value > 0]
    logarithmic = log and bool(positive)
    floor = math.log10(min(positive)) - 1 if logarithmic else 0.0

    def scale(value: float) -> float:
        return float(value) if not logarithmic else math.log10(value) if value > 0 else floor

    low, high = min(map(scale, present)), max(map(scale, present))
    span = (high - low) or 1.0
    heights = [ABSENT if value is None else (scale(value) - low) / span for value in values]
    if len(set(present)) <= FEW:
        marks = [(scale(value), short(float(value))) for value in sorted(set(present))]
    else:
        marks = _decades(low, high, zero=0 in present) if logarithmic else _round_steps(low, high)
    ticks = [((at - low) / span, text) for at, text in marks]
    if len(ticks) < 2:
        ticks = [(0.0, short(float(min(present)))), (1.0, short(float(max(present))))]
    return Axis(label + (" (log)" if logarithmic else ""), heights, ticks)


def _decades(low: float, high: float, *, zero: bool) -> list[tuple[float, str]]:
    """Powers of ten between two logarithms, with 2 and 5 between them on a short axis, and the place of zero."""
    begin = low + 1 if zero else low
    steps = (1, 2, 5) if high - begin < 2.5 else (1,)
    powers = range(math.floor(begin), math.ceil(high) + 1)
    places = [(math.log10(step) + power, f"{step * 10.0**power:g}") for power in powers for step in steps]
    return ([(low, "0")] if zero else []) + [mark for mark in places if begin - 1e-9 <= mark[0] <= high + 1e-9]


def _round_steps(low: float, high: float) -> list[tuple[float, str]]:
    """Four or so round numbers between two ends."""
    from matplotlib.ticker import MaxNLocator

    return [(at, f"{at:g}") for at in MaxNLocator(5).tick_values(low, high) if low - 1e-9 <= at <= high + 1e-9]


def axes_of(board: Leaderboard, rows: Sequence[Row]) -> list[Axis]:
    """Return the method's axis, those of the varied parameters and the objective's."""
    axes = [make_axis("method", [row.method for row in rows], log=False)] if len(board.methods) > 1 else []
    for path in board.varied[: MAX_AXES - 2]:
        values = [row.values.get(path) for row in rows]
        if len({repr(value) for value in values}) > 1:
            axes.append(make_axis(path, values, log=path in board.log_paths))
    return [*axes, make_axis(board.metric, [row.objective for row in rows], log=False)]


def draw_parallel(board: Leaderboard) -> "Figure | None":
    """Settings and objective of every trial that evaluated an epoch; the best in full colour, stopped ones dashed."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    rows = [row for row in board.rows if row.objective is not None]
    if len(rows) < 2:
        return None
    axes_list = axes_of(board, rows)
    figure, (axes,) = new_figure(max(6.0, 1.6 * len(axes_list) + 1.4), 4.8)
    objectives = [float(row.objective or 0.0) for row in rows]
    norm, palette = (
        Normalize(min(objectives), max(objectives)),
        mpl.colormaps["viridis" if board.maximize else "viridis_r"],
    )
    for place in reversed(range(len(rows))):  # the best is drawn last, on top
        row, best = rows[place], rows[place] is board.best
        heights = [axis.heights[place] for axis in axes_list]
        axes.plot(
            range(len(axes_list)),
            heights,
            color=palette(norm(objectives[place])),
            linewidth=3.0 if best else 1.3,
            linestyle="-" if row.state == "COMPLETE" else (0, (2, 2)),
            alpha=1.0 if best else 0.75,
            zorder=3 if best else 2,
        )
    for place, axis in enumerate(axes_list):
        axes.vlines(place, 0, 1, color="#333333", linewidth=1, zorder=1)
        for height, text in axis.ticks:
            axes.plot([place - 0.03, place], [height, height], color="#333333", linewidth=0.8, zorder=1)
            axes.annotate(
                text,
                (place, height),
                (-5, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
                zorder=4,
            )
    if any(height == ABSENT for axis in axes_list for height in axis.heights):
        axes.annotate(
            "not a parameter of this trial",
            (0, ABSENT),
            (-6, 0),
            textcoords="offset points",
            fontsize=8,
            ha="left",
            va="top",
            color="#666666",
        )
    axes.set_xticks(range(len(axes_list)), [axis.label for axis in axes_list], rotation=20, ha="left")
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.45, len(axes_list) - 0.8), ylim=(ABSENT - 0.08, 1.05))
    figure.colorbar(ScalarMappable(norm, palette), ax=axes, label=board.metric, fraction=0.04, pad=0.02)
    headline(figure, f"{board.study}: settings of every trial; thick: best, dashed: stopped early")
    return figure
