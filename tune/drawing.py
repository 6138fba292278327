"""The look that all pictures of a study share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
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


def save_figures(
    drawings: "Mapping[str, Callable[[T], Figure | None]]", subject: T, folder: Path, suffix: str = ""
) -> list[Path]:
    """Draw ``subject`` into ``folder``; return the files, PNG before SVG.

    Args:
        drawings: by name; None draws nothing, and what an earlier state left under that name goes.
        subject: what is drawn.
        folder: made if it is missing.
        suffix: of the names.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    with mpl.rc_context(STYLE):
        for name, draw in drawings.items():
            for old in folder.glob(f"{name}[.-]*"):
                old.unlink()
            if (figure := draw(subject)) is None:
                continue
            for kind in ("png", "svg"):
                file = folder / f"{name}{suffix}.{kind}"
                figure.savefig(file, metadata={"Date": None} if kind == "svg" else {}, facecolor="white")
                files.append(file)
    return files
