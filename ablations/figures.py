"""Pictures of a grid. PNG and SVG, the same bytes for the same numbers."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ablations.comparison import figures_of
from ablations.interval_figure import draw_intervals
from ablations.panels import new_panels
from ablations.rank_figure import draw_critical_difference
from ablations.summary import CellSummary, GridSummary
from plml.tracking_view import PALETTE
from tune.drawing import GRID, MUTED, headline, one_legend, save_figures, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES = 40  # more bars cannot be read; the largest differences are kept
MAX_PANELS = 6
GAIN, LOSS = PALETTE[0], PALETTE[3]


def draw_figures(summary: GridSummary, folder: Path) -> list[Path]:
    """Draw what the grid allows into ``folder``; return the files, PNG before SVG.

    Args:
        summary: the numbers.
        folder: made if it is missing; figures of an earlier state do not stay.
    """
    drawings: dict[str, Callable[[GridSummary], Figure | None]] = {
        "intervals": draw_intervals,
        "interaction": draw_interaction,
        "class_differences": draw_class_differences,
        "critical_difference": draw_critical_difference,
        "best_of_k": draw_best_of_k,
    }
    return save_figures(drawings, summary, folder, summary.suffix)


def draw_interaction(summary: GridSummary) -> "Figure | None":
    """Mean figure by the levels of one factor, a line for each level of another, over all other factors.

    Where a mean is that of a single cell, small dots are its runs.
    """
    pairs = [pair for pair in combinations(summary.outcome.factors, 2) if _crossed(summary, *pair)][:MAX_PANELS]
    if not pairs:
        return None
    figure, panels = new_panels(len(pairs), 6.0 if len(pairs) == 1 else 4.4, 3.8)
    for axes, (lines, across) in zip(panels, pairs, strict=True):
        levels = _levels(summary, across)
        for number, level in enumerate(_levels(summary, lines)):
            color, at, means = PALETTE[number % len(PALETTE)], [], []
            for place, other in enumerate(levels):
                runs = _runs_at(summary, {lines: level, across: other})
                if runs:
                    at.append(place + 0.03 * (number - 1))
                    means.append(fmean(map(fmean, runs)))
                    if len(runs) == 1:  # a cell, not a mean of several
                        axes.scatter([at[-1]] * len(runs[0]), runs[0], s=10, color=color, alpha=0.45, linewidths=0)
            axes.plot(at, means, color=color, marker="o", linewidth=1.8, label=level)
        axes.set_xticks(range(len(levels)), levels, rotation=30 if max(map(len, levels)) > 9 else 0)
        axes.set(xlabel=across, xlim=(-0.4, len(levels) - 0.6))
        axes.legend(title=lines, fontsize=8, title_fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.grid(axis="y", **GRID)
    panels[0].set_ylabel(f"{summary.outcome.metric}, percent")
    headline(figure, f"{summary.outcome.name}: how factors act together{_stamp(summary)}")
    return figure


def draw_class_differences(summary: GridSummary) -> "Figure | None":
    """AP of the best cell minus the baseline's, class by class, of each block."""
    shown = [
        (block, best)
        for block in summary.blocks
        if (best := _best_compared(summary, block)) is not None and best.difference and best.difference.classes
    ][:MAX_PANELS]
    names = summary.outcome.class_names
    shown = [(block, best) for block, best in shown if best.difference and len(best.difference.classes) == len(names)]
    if not shown:
        return None
    rows = min(MAX_CLASSES, len(names))
    figure, panels = new_panels(len(shown), 6.5 if len(shown) == 1 else 4.6, 1.1 + 0.24 * rows, extra=0.3)
    for axes, (block, best) in zip(panels, shown, strict=True):
        assert best.difference is not None
        known = [(value, name) for value, name in zip(best.difference.classes, names, strict=True) if value is not None]
        kept = sorted(sorted(known, key=lambda entry: (-abs(entry[0]), entry[1]))[:MAX_CLASSES])
        values = [value for value, _ in kept]
        axes.barh(range(len(kept)), values, color=[GAIN if value > 0 else LOSS for value in values], height=0.7)
        axes.set_yticks(range(len(kept)), [name for _, name in kept])
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.margins(y=0.01)
        where = f"{block}: " if block else ""
        axes.set_title(f"{where}{summary.name_of(best)} ({best.difference.mean:+.2f})", fontsize=10)
        axes.set_xlabel(f"AP minus the baseline's, points, mean of {best.difference.n}")
        axes.grid(axis="x", **GRID)
    left_out = f", the {rows} largest of {len(names)}" if rows < len(names) else ""
    headline(figure, f"{summary.outcome.name}: best cell against the baseline by class{left_out}{_stamp(summary)}")
    return figure


def draw_best_of_k(summary: GridSummary) -> "Figure | None":
    """Expected test mAP of the trial that a search of k trials chooses, with the middle 80 % of such searches."""
    searched = [(cell, cell.best_of_k) for cell in summary.cells if cell.best_of_k and cell.best_of_k.test]
    if not searched:
        return None
    blocks = list(dict.fromkeys(cell.block for cell, _ in searched))
    figure, panels = new_panels(len(blocks), 8.0 if len(blocks) == 1 else 4.6, 4.2)
    for axes, block in zip(panels, blocks, strict=True):
        curves = [(cell, found) for cell, found in searched if cell.block == block]
        for number, (cell, found) in enumerate(curves):
            color, budget = PALETTE[number % len(PALETTE)], range(1, len(found.test) + 1)
            style = ("-", "--", ":", "-.")[number // len(PALETTE) % 4]
            axes.plot(budget, found.test, color=color, linestyle=style, linewidth=1.8, label=summary.name_of(cell))
            if len(curves) <= 3:  # bands of more hide each other
                axes.fill_between(budget, found.low, found.high, color=color, alpha=0.13, linewidth=0)
        axes.set(xlabel="trials of the search", title=f"{summary.outcome.blocks} {block}" if block else "")
        whole_numbers(axes)
        axes.grid(**GRID)
    panels[0].set_ylabel("test mAP of the chosen trial, percent")
    one_legend(figure, panels[0])
    headline(figure, f"{summary.outcome.name}: what a smaller tuning budget finds{_stamp(summary)}")
    return figure


def _best_compared(summary: GridSummary, block: str) -> CellSummary | None:
    """The best cell of a block that has a difference to the baseline."""
    compared = [cell for cell in summary.of_block(block) if cell.difference is not None and cell.mean is not None]
    return max(compared, key=lambda cell: cell.mean or 0.0, default=None)


def _levels(summary: GridSummary, factor: str) -> list[str]:
    return list(dict.fromkeys(cell.levels[factor] for cell in summary.cells if factor in cell.levels))


def _runs_at(summary: GridSummary, levels: dict[str, str]) -> list[list[float]]:
    """Return the figures of every cell with these levels that has some."""
    cells = [c for c in summary.outcome.cells if all(c.levels.get(name) == level for name, level in levels.items())]
    return [list(found.values()) for cell in cells if (found := figures_of(summary.outcome, cell))]


def _crossed(summary: GridSummary, one: str, other: str) -> bool:
    """Whether some two levels of each factor meet."""
    met = {(cell.levels.get(one), cell.levels.get(other)) for cell in summary.cells if cell.mean is not None}
    met = {pair for pair in met if None not in pair}
    return any(
        (a, y) in met and (b, x) in met for (a, x), (b, y) in combinations(sorted(met, key=str), 2) if a != b and x != y
    )


def _stamp(summary: GridSummary) -> str:
    return " (selected on clean labels)" if summary.outcome.clean else ""
