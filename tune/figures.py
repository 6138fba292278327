"""Pictures of a finished study: how the search went, what mattered, how the methods differ. PNG and SVG."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plml.tracking_view import method_colors
from tune.class_figures import draw_per_class, draw_precision_recall
from tune.drawing import GRID, MUTED, headline, new_figure, one_legend, save_figures, whole_numbers
from tune.importance import importances
from tune.parallel import draw_parallel
from tune.standings import Leaderboard, read_reports

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_figures(board: Leaderboard, folder: Path) -> list[Path]:
    """Draw what the trials allow into ``folder``; return the files, PNG before SVG.

    Args:
        board: the study.
        folder: made if it is missing.
    """
    drawings: dict[str, Callable[[Leaderboard], Figure | None]] = {
        "optimization_history": draw_history,
        "parallel_coordinates": draw_parallel,
        "parameter_importance": draw_importance,
        "learning_curves": draw_curves,
        "per_class_ap": draw_per_class,
        "precision_recall": draw_precision_recall,
    }
    return save_figures(drawings, board, folder)


def draw_history(board: Leaderboard) -> "Figure | None":
    """Objective by trial, in the order asked, with the best so far."""
    rows = sorted((row for row in board.rows if row.objective is not None), key=lambda row: row.number)
    if not rows:
        return None
    figure, (axes,) = new_figure(8, 4.2)
    colors = method_colors(board.methods)
    place = {row.key: i for i, row in enumerate(rows, start=1)}
    for method in board.methods:
        for state, marker, face in (("COMPLETE", "o", colors[method]), ("other", "X", "none")):
            shown = [r for r in rows if r.method == method and (r.state == "COMPLETE") == (state == "COMPLETE")]
            if shown:
                axes.scatter(
                    [place[r.key] for r in shown],
                    [float(r.objective or 0.0) for r in shown],
                    s=44,
                    marker=marker,
                    facecolors=face,
                    edgecolors=colors[method],
                    label=method if state == "COMPLETE" else f"{method}, stopped early",
                )
    complete = [row for row in rows if row.state == "COMPLETE"]
    if complete:
        accumulate = np.maximum.accumulate if board.maximize else np.minimum.accumulate
        best = accumulate([float(row.objective or 0.0) for row in complete])
        at = [place[row.key] for row in complete]
        axes.step([*at, len(rows)], [*best, best[-1]], where="post", color=MUTED, linewidth=1.2, label="best so far")
    axes.set(title=f"{board.study}: optimisation history", xlabel="trial, in the order begun", ylabel=board.metric)
    whole_numbers(axes)
    axes.grid(**GRID)
    figure.legend(loc="outside right upper", fontsize=9)
    return figure


def draw_importance(board: Leaderboard) -> "Figure | None":
    """Share of each parameter in the objective's variance, over all trials and within each method."""
    found = importances(board)
    if not found:
        return None
    tallest = max(len(shares) for shares in found.values())
    figure, panels = new_figure(3.6 * len(found) + 0.6, 1.4 + 0.42 * tallest, len(found))
    colors = method_colors(board.methods)
    for axes, (group, shares) in zip(panels, found.items(), strict=True):
        paths = sorted(shares, key=shares.__getitem__)
        bars = axes.barh(paths, [shares[path] for path in paths], color=colors.get(group, MUTED), height=0.65)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
        trials = sum(row.method == group for row in board.ranked) if group in colors else len(board.ranked)
        axes.set(title=f"{group} ({trials})", xlim=(0, 1.15))
        axes.set_xlabel("share of variance")
        axes.grid(axis="x", **GRID)
    headline(figure, f"{board.study}: what {board.metric} depends on")
    return figure


def draw_curves(board: Leaderboard) -> "Figure | None":
    """Selection figure and clean validation mAP by epoch, best run of each method, chosen epoch marked."""
    curves = {row.key: read_reports(row.run_folder) for row in board.best_of_each}
    if not any(curves.values()):
        return None
    figure, panels = new_figure(10, 4.2, 2)
    colors = method_colors(board.methods)
    names = {"selection/value": "what selects (selection/value)", "val/mAP": "validation mAP on clean labels"}
    for axes, (name, title) in zip(panels, names.items(), strict=True):
        for row in board.best_of_each:
            points = [(epoch, metrics[name]) for epoch, metrics in curves[row.key] if name in metrics]
            if not points:
                continue
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, color=colors[row.method], linewidth=1.8, marker=".", label=row.method)
            chosen = [point for point in points if point[0] == row.best_epoch]
            xs, ys = [epoch for epoch, _ in chosen], [value for _, value in chosen]
            axes.scatter(xs, ys, s=90, facecolors="none", edgecolors=colors[row.method], zorder=3)
        axes.set(title=title, xlabel="epoch")
        whole_numbers(axes)
        axes.grid(**GRID)
    panels[0].set_ylabel("percent")
    one_legend(figure, panels[0])
    headline(figure, f"{board.study}: best run of each method, chosen epoch circled")
    return figure
