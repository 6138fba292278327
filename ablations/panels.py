"""Figures of several panels in rows, which share one look and fit a page."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS = 3


def new_panels(count: int, width: float, height: float, extra: float = 0.0) -> "tuple[Figure, list[Axes]]":
    """Return a figure of ``count`` panels, each ``width`` x ``height`` inches, at most three in a row.

    Args:
        count: of panels, at least 1.
        width: of one.
        height: of one.
        extra: height of what stands above and below all of them.
    """
    from matplotlib.figure import Figure

    columns = min(count, MAX_COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows + extra), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]
