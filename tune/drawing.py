"""The look that all pictures of a study share."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID: dict[str, Any] = {"color": "#DDDDDD", "linewidth": 0.6}
MUTED = "#666666"
STYLE: Any = {  # matplotlib types the keys of its settings as literals
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "plml",
    "figure.dpi": 100,
    "savefig.dpi": 150,
}


def new_figure(width: float, height: float, columns: int = 1, **options: Any) -> "tuple[Figure, list[Axes]]":
    """Return a figure of the given size in inches and its axes, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **options)
    return figure, list(axes[0])


def headline(figure: "Figure", text: str) -> None:
    """A title over all panels."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")


def one_legend(figure: "Figure", axes: "Axes") -> None:
    """One legend beside the panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=9)


def whole_numbers(axes: "Axes") -> None:
    """Tick the horizontal axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
